"""Run logs on disk: found in files and folders, and read whole within bounds."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steplog.importing.chunks import PREFIXES, RUN_LOG, assemble
from steplog.importing.shape import RunLogMalformed

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES: Final = 64 * 1024 * 1024
"""The largest run log that is read: in memory it takes ten times that."""

MAX_DEPTH: Final = 6
"""How many folders deep to search."""

_SUFFIX: Final = ".json"
_RUN_LOG_FILE: Final = f"{RUN_LOG}{_SUFFIX}"


def find_run_logs(path: Path, depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Find what may be a run log: a JSON file, or a folder with the pieces of one.

    Within a folder links are not followed, so that the search stays in it. Hidden folders are
    searched, as the original keeps run logs in one. What cannot be looked into is returned too:
    reading it says why.
    """
    try:
        if not path.is_dir():
            yield path.parent if path.name == _RUN_LOG_FILE else path
            return
        entries = _entries(path)
    except OSError:
        yield path
        return
    if any(_is_file(entry) and entry.name == _RUN_LOG_FILE for entry in entries):
        yield path
        return
    for entry in entries:
        if depth > 1 and entry.is_dir(follow_symlinks=False):
            yield from find_run_logs(Path(entry.path), depth - 1)
        elif entry.name.endswith(_SUFFIX) and _is_file(entry):
            yield Path(entry.path)


def read_document(path: Path) -> tuple[Any, int]:
    """Read a run log, of a file or of a folder with its pieces.

    Returns:
        The decoded document, and when it was written last, in microseconds since the epoch.

    Raises:
        RunLogMalformed: It is no JSON, is too large, or a piece does not fit.
        OSError: It cannot be read.
    """
    if not path.is_dir():
        document, _, modified_ts = _read(path, MAX_BYTES)
        return document, modified_ts
    room, latest = MAX_BYTES, 0
    pieces: dict[str, Any] = {}
    for entry in filter(_is_piece, _entries(path)):
        try:
            piece, size, modified_ts = _read(Path(entry.path), room)
        except RunLogMalformed as error:
            raise RunLogMalformed(f"{entry.name}: {error}") from error
        pieces[entry.name.removesuffix(_SUFFIX)] = piece
        room, latest = room - size, max(latest, modified_ts)
    if RUN_LOG not in pieces:
        raise RunLogMalformed(f"{_RUN_LOG_FILE} is missing")
    return assemble(pieces), latest


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def _is_piece(entry: os.DirEntry[str]) -> bool:
    if not _is_file(entry) or not entry.name.endswith(_SUFFIX):
        return False
    return entry.name == _RUN_LOG_FILE or entry.name.startswith(PREFIXES)


def _read(path: Path, room: int) -> tuple[Any, int, int]:
    """Return a file's document, its size, and when it was modified."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not stop us
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise RunLogMalformed("it is no regular file")
        content = file.read(room + 1) if status.st_size <= room else b""
    if max(status.st_size, len(content)) > room:
        raise RunLogMalformed(f"it is larger than the {MAX_BYTES:,} bytes that are read")
    return _decode(content), len(content), status.st_mtime_ns // 1000


def _decode(content: bytes) -> Any:
    try:
        # Texts with raw control characters occur in run logs that people have copied.
        return json.loads(content.decode("utf-8-sig"), strict=False)
    except RecursionError:
        raise RunLogMalformed("it is nested too deeply") from None
    except ValueError as error:
        raise RunLogMalformed(f"it is no JSON ({error})") from error
