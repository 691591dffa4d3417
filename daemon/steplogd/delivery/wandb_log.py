"""Reads W&B's transaction log, the `.wandb` file of a run, while W&B still writes it.

It is a log in LevelDB's format: a header, then blocks of 32 KiB, each with fragments of records,
each fragment with a checksum. What a killed writer left half written is no record.
"""

from __future__ import annotations

import glob
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK_BYTES: Final = 32 * 1024
HEADER_BYTES: Final = 7
"""The size of the file's header, and of that of each fragment: checksum, length, kind."""

_CHUNK_BYTES: Final = 64 * BLOCK_BYTES
"""How much is read at once; many times the largest fragment."""

_MAGIC: Final = b":W&B"
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class BrokenLog(Exception):
    """The file is no transaction log, or was damaged after it was written."""


def paths_of(directory: Path, run_id: str, mode: str) -> list[Path]:
    """Return the logs of a run below what W&B calls WANDB_DIR, in no order."""
    folder = "offline-run-*" if mode == "offline" else "run-*"
    return list(directory.glob(f"wandb/{folder}/run-{glob.escape(run_id)}.wandb"))


class LogTail:
    """Reads the records of one file in their order, each of them once.

    Args:
        path: The file; it may grow while it is read.
        block: The block to begin with; records that began in an earlier one are passed over.
    """

    def __init__(self, path: Path, block: int = 0) -> None:
        self._path = path
        self._offset = max(block * BLOCK_BYTES, HEADER_BYTES)
        self._pending = bytearray()
        self._is_inside = False

    def read(self) -> Iterator[bytes]:
        """Return the records that have become whole since it was last asked.

        Raises:
            BrokenLog: There is something else in the file.
            OSError: It cannot be read.
        """
        with self._path.open("rb") as file:
            beginning = file.read(len(_MAGIC))
            if not _MAGIC.startswith(beginning):
                raise BrokenLog(f"{self._path} does not begin like a transaction log of W&B")
            is_more = True
            while is_more:
                start = self._offset
                file.seek(start)
                content = file.read(_CHUNK_BYTES)
                yield from self._records(content, start)
                is_more = len(content) == _CHUNK_BYTES and self._offset > start

    def _records(self, content: bytes, start: int) -> Iterator[bytes]:
        """Cut what was read into records, and note how far it was whole."""
        at = 0
        while len(content) - at >= HEADER_BYTES:
            left = BLOCK_BYTES - (start + at) % BLOCK_BYTES
            if left < HEADER_BYTES:  # too little for a fragment: the block ends in zeros
                at += left
                continue
            length = int.from_bytes(content[at + 4 : at + 6], "little")
            end = at + HEADER_BYTES + length
            kind = content[at + 6]
            if kind == 0 and not any(content[at : at + left]):  # a block that is not yet filled
                return
            if end > len(content):
                return
            self._check(content, at, end)
            self._offset = start + end
            if record := self._joined(kind, content[at + HEADER_BYTES : end]):
                yield record
            at = end

    def _check(self, content: bytes, at: int, end: int) -> None:
        checksum = int.from_bytes(content[at : at + 4], "little")
        if zlib.crc32(content[at + 6 : end]) != checksum:
            raise BrokenLog(
                f"{self._path} is damaged at byte {self._offset}; move all folders of its run "
                "away, and `steplogd replay` sends what they held"
            )

    def _joined(self, kind: int, fragment: bytes) -> bytes | None:
        """Return the record that a fragment completes, if it does."""
        if kind == _FULL:
            return fragment
        if kind == _FIRST:
            self._pending, self._is_inside = bytearray(fragment), True
            return None
        self._pending += fragment
        if kind == _MIDDLE or not self._is_inside:
            return None
        self._is_inside = False
        return bytes(self._pending)


def block_count(path: Path) -> int:
    """Return how many blocks a file has, the last of them perhaps not full."""
    return -(-path.stat().st_size // BLOCK_BYTES)
