"""Tries a file system out, by a file without a name that is gone as soon as it is closed."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_UNKNOWN: Final = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
_LINE: Final = b"x\n"


class Probe(NamedTuple):
    """What a file system can do.

    Attributes:
        has_locks: Whether `flock` works, by which a killed task is told from one that goes on.
        appends: Whether `O_APPEND` appends.
        has_shared_memory: Whether files can be mapped, as SQLite does beside its WAL.
        seconds_ahead: By how much its clock is ahead of ours.
    """

    has_locks: bool
    appends: bool
    has_shared_memory: bool
    seconds_ahead: float


def probe(folder: Path) -> Probe | None:
    """Try it out in a folder; None where it has no files without names.

    Raises:
        OSError: Nothing can be written there.
    """
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return None
        raise
    try:
        now = time.time()
        appends = _appends(fd)
        ahead = os.fstat(fd).st_mtime - now
        return Probe(_has_locks(fd), appends, _has_shared_memory(fd), ahead)
    finally:
        os.close(fd)


def _appends(fd: int) -> bool:
    os.write(fd, _LINE)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, _LINE)
    return os.fstat(fd).st_size == 2 * len(_LINE)


def _has_locks(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _has_shared_memory(fd: int) -> bool:
    try:
        with mmap.mmap(fd, len(_LINE), mmap.MAP_SHARED) as memory:
            memory[0:1] = b"y"
    except (OSError, ValueError):
        return False
    return os.pread(fd, 1, 0) == b"y"
