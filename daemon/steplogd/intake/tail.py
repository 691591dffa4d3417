"""Tail: the new whole lines of a spool, from an offset on."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
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

CHUNK_LINES: Final = 32 * 1024
"""And how many lines of it: one of garbage costs as much time as one of any length."""

MARK_BYTES: Final = 1024
"""How much of a spool before a place makes the mark of it: some lines, and when they were said."""

_SUFFIX: Final = ".jsonl"
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY


class NotASpool(OSError):
    """What has a spool's name is no regular file: a folder, a link, a pipe, a device."""


class NotAFolder(OSError):
    """Where the spools should lie there is a link, or something else that is no folder."""


class Chunk(msgspec.Struct, frozen=True):
    """Bytes of a spool.

    Attributes:
        lines: Whole lines; or, when no line ends within `CHUNK_BYTES`, what can be no event.
        offset: Where they begin.
        modified_ts: When the spool was last appended to, in microseconds since the epoch.
        size: The whole spool's, in bytes.
        inode: The file's number, by which one that took its place is told from it.
        owner: The number of the user whose file it is.
        before: The bytes that lie just before them, `MARK_BYTES` at most.
        has_more: Whether more than this could have been read.
    """

    lines: bytes
    offset: int
    modified_ts: int
    size: int
    inode: int = 0
    before: bytes = b""
    has_more: bool = False
    owner: int = -1

    @property
    def end(self) -> int:
        """Where the next chunk begins."""
        return self.offset + len(self.lines)

    @property
    def mark(self) -> bytes:
        """What tells this spool, at the beginning of the chunk, from another of the same name."""
        return mark_of(self.before)

    @property
    def end_mark(self) -> bytes:
        """The same at the end of the chunk."""
        return mark_of((self.before + self.lines[-MARK_BYTES:])[-MARK_BYTES:])


def mark_of(before: bytes) -> bytes:
    """Return what bytes of a spool are known by."""
    return hashlib.blake2b(before, digest_size=16).digest()


def read_chunk(path: Path, offset: int) -> Chunk:
    """Return the whole lines that follow an offset, at most `CHUNK_BYTES` and `CHUNK_LINES`.

    A line longer than that is passed over: all that cannot be part of an event at its end is
    returned without an LF, to be set aside.

    Raises:
        FileNotFoundError: There is no such spool.
        NotASpool: It is not a regular file; nothing is read from it.
        NotAFolder: Nor is anything from a folder that is a link.
        OSError: It cannot be read.
    """
    known = min(offset, MARK_BYTES)
    with opened(path) as (fd, status):
        # No more than there is: to make room for a whole chunk costs more than to read some lines.
        there = max(status.st_size - offset, 0)
        data = os.pread(fd, known + min(there, CHUNK_BYTES), offset - known)
    before, data = data[:known], data[known:]
    whole, has_more = whole_lines(data)
    return Chunk(
        lines=data[:whole],
        offset=offset,
        modified_ts=status.st_mtime_ns // 1000,
        size=status.st_size,
        inode=status.st_ino,
        before=before,
        has_more=has_more,
        owner=status.st_uid,
    )


def whole_lines(data: bytes) -> tuple[int, bool]:
    """Return how many of these bytes make a chunk, and whether more could follow them."""
    is_full = len(data) == CHUNK_BYTES
    if data.count(b"\n") > CHUNK_LINES:
        rest = data.split(b"\n", CHUNK_LINES)[-1]
        return len(data) - len(rest), True
    whole = complete(data)
    if whole == 0 and is_full:
        whole = len(data) - MAX_LINE_BYTES  # what may still become an event stays
    return whole, is_full


def has_writer(path: Path) -> bool:
    """Tell whether any process holds the lock that each writer holds while it lives.

    Raises:
        OSError: It cannot be told; NotASpool too.
    """
    with opened(path) as (fd, _):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False


def size_of(path: Path) -> tuple[int, int]:
    """Return the size of a spool in bytes, and when it was appended to, in nanoseconds.

    Raises:
        FileNotFoundError: There is none.
        NotASpool: It is not a regular file.
        OSError: It cannot be told.
    """
    with _folder(path.parent) as folder:
        status = _status(path, folder)
    return status.st_size, status.st_mtime_ns


def list_spools(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield run id and size in bytes of each spool in a folder; raises as `scan`."""
    for run_id, status in scan(folder):
        yield run_id, status.st_size


def scan(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield run id and status of each spool in a folder; none where there is no folder.

    Raises:
        NotAFolder: It is a link, which is not followed.
        OSError: It cannot be read.
    """
    with contextlib.ExitStack() as held:
        try:
            descriptor = held.enter_context(_folder(folder))
        except FileNotFoundError:
            return
        for entry in held.enter_context(os.scandir(descriptor)):
            run_id = run_id_of(entry.name)
            if run_id is None:
                continue
            # Gone, or what its owner mounted there lets nobody look: that costs no other.
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield run_id, status


def run_id_of(name: str) -> str | None:
    """Return the run id in a spool's file name; None where it is no spool's."""
    if not name.endswith(_SUFFIX):
        return None
    try:
        return check_run_id(name.removesuffix(_SUFFIX))
    except ValueError:
        return None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    """Hold a spool open to read it: its descriptor and its status.

    Raises:
        FileNotFoundError, NotASpool, NotAFolder, OSError: As `read_chunk`.
    """
    with _folder(path.parent) as folder:
        _status(path, folder)  # before it is opened: to open a device may set it going
        try:
            fd = os.open(path.name, _OPEN_FLAGS, dir_fd=folder)
        except OSError as error:
            error.filename = str(path)
            raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotASpool(0, "is not a regular file", str(path))
        yield fd, status
    finally:
        os.close(fd)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """Hold the folder of the spools itself: what lies in it is looked up there, wherever it goes.

    So nobody who exchanges it for a link meanwhile leads us to files of the same name elsewhere.
    """
    try:
        descriptor = os.open(path, _FOLDER_FLAGS)
    except NotADirectoryError as error:
        what = "is a link, which is not followed" if path.is_symlink() else "is not a folder"
        raise NotAFolder(error.errno, what, str(path)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _status(path: Path, folder: int) -> os.stat_result:
    status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        raise NotASpool(0, "is a link, which is not followed", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise NotASpool(0, "is not a regular file", str(path))
    return status
