"""Tail: the new whole lines of a spool, from an offset on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

import msgspec

from steplog.decoding import complete
from steplog.events import MAX_LINE_BYTES
from steplog.names import check_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK_BYTES: Final = 1024 * 1024
"""How much of one spool is read at once: four times the longest line."""

_SUFFIX: Final = ".jsonl"
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class NotASpool(OSError):
    """What has a spool's name is no regular file: a folder, a link, a pipe, a device."""


class Chunk(msgspec.Struct, frozen=True):
    """Bytes of a spool.

    Attributes:
        lines: Whole lines; or, when no line ends within `CHUNK_BYTES`, what can be no event.
        offset: Where they begin.
        modified_ts: When the spool was last appended to, in microseconds since the epoch.
        size: The whole spool's, in bytes.
        has_more: Whether more than this could have been read.
    """

    lines: bytes
    offset: int
    modified_ts: int
    size: int
    has_more: bool = False

    @property
    def end(self) -> int:
        """Where the next chunk begins."""
        return self.offset + len(self.lines)


def read_chunk(path: Path, offset: int) -> Chunk:
    """Return the whole lines that follow an offset, at most `CHUNK_BYTES` of them.

    A line longer than that is passed over: all that cannot be part of an event at its end is
    returned without an LF, to be set aside.

    Raises:
        FileNotFoundError: There is no such spool.
        NotASpool: It is not a regular file; nothing is read from it.
        OSError: It cannot be read.
    """
    with _opened(path) as (fd, status):
        modified_ts = status.st_mtime_ns // 1000
        if status.st_size <= offset:
            return Chunk(b"", offset, modified_ts, status.st_size)
        data = os.pread(fd, CHUNK_BYTES, offset)
    whole = complete(data)
    if whole == 0 and len(data) == CHUNK_BYTES:
        whole = len(data) - MAX_LINE_BYTES  # what may still become an event stays
    has_more = len(data) == CHUNK_BYTES
    return Chunk(data[:whole], offset, modified_ts, status.st_size, has_more)


def has_writer(path: Path) -> bool:
    """Tell whether any process holds the lock that each writer holds while it lives.

    Raises:
        OSError: It cannot be told; NotASpool too.
    """
    with _opened(path) as (fd, _):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False


def list_spools(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield run id and size in bytes of each spool in a folder; none where there is no folder."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            run_id = run_id_of(entry.name)
            if run_id is None:
                continue
            # Gone, or what its owner mounted there lets nobody look: that costs no other.
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield run_id, status.st_size


def run_id_of(name: str) -> str | None:
    """Return the run id in a spool's file name; None where it is no spool's."""
    if not name.endswith(_SUFFIX):
        return None
    try:
        return check_run_id(name.removesuffix(_SUFFIX))
    except ValueError:
        return None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    try:
        fd = os.open(path, _OPEN_FLAGS)
    except OSError as error:
        if path.is_symlink():
            raise NotASpool(error.errno, "is a link, which is not followed", str(path)) from error
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotASpool(0, "is not a regular file", str(path))
        yield fd, status
    finally:
        os.close(fd)
