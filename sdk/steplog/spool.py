"""The spool as a file: opened for appending, locked while its writer lives, one write a line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from steplog.home import SPOOL_MODE, document_path, make_folder, spool_path
from steplog.names import check_run_id, propose_run_id
from steplog.room import Room

if TYPE_CHECKING:
    from pathlib import Path

LOCK_ATTEMPTS: Final = 50
"""A daemon that looks whether anyone lives holds the lock for some microseconds; for some
milliseconds when a busy machine takes the processor from it just then."""

LOCK_PAUSE_SECONDS: Final = 0.001


CLOSED: Final = -1
"""No descriptor: a write to it fails."""

BROKEN: Final = (errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV)
"""What a write says whose file system broke; the path may lead to one that was mounted anew."""

_PROPOSALS: Final = 50


class TornWrite(OSError):
    """A line was written in part, and what stands in the spool ends without an LF."""


def append_line(home: Path, run_id: str, line: bytes) -> None:
    """Append one line to the spool of a run as a visitor: open, write, close.

    On return the line is in the file, as any `write` is: a killed process or daemon loses nothing,
    a power cut may.

    Args:
        home: Where the spools lie; made when absent.
        run_id: The run; it need not exist yet.
        line: One JSON object with an LF at the end.

    Raises:
        InvalidName: The run id is none.
        NoRoom: The disk is full but for what is left to others; nothing was written.
        OSError: It could not be written; the spool has at most a torn piece of it.
    """
    fd = open_spool(home, run_id)
    try:
        Room().claim(fd, len(line))
        write_line(fd, line)
    finally:
        os.close(fd)


def open_spool(home: Path, run_id: str, *, exclusive: bool = False) -> int:
    """Open the spool of a run for appending, and make it when absent.

    The descriptor holds `flock(LOCK_SH)` until it is closed, by the kernel if need be: that is how
    a daemon knows that a writer lives. A torn tail of a killed writer is ended with an LF.

    Args:
        home: Where the spools lie; made when absent, readable by its owner alone.
        run_id: The run.
        exclusive: Raise FileExistsError when the spool exists already.

    Raises:
        InvalidName: The run id is none.
        OSError: It cannot be opened, or is no regular file.
    """
    path = spool_path(home, check_run_id(run_id))
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    flags |= os.O_EXCL if exclusive else 0
    try:
        fd = os.open(path, flags, SPOOL_MODE)
    except FileNotFoundError:
        make_folder(path.parent.parent)
        make_folder(path.parent)
        fd = os.open(path, flags, SPOOL_MODE)
    try:
        _prepare(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_new_spool(home: Path) -> tuple[str, int]:
    """Make up a run id that is not taken, and open its spool.

    Returns:
        The run id and the descriptor, or `CLOSED` when nothing can be opened now.
    """
    for attempt in range(_PROPOSALS):
        run_id = propose_run_id()
        if attempt > _PROPOSALS // 2:
            run_id = f"{run_id}-{os.urandom(4).hex()}"
        try:
            if not document_path(home, run_id).exists():
                return run_id, open_spool(home, run_id, exclusive=True)
        except FileExistsError:
            continue
        except OSError:  # the writer tries again with each event, and says what is wrong
            break
    return f"{propose_run_id()}-{os.urandom(4).hex()}", CLOSED


def write_line(fd: int, line: bytes) -> None:
    """Write a whole line, in one `write(2)` unless the disk is nearly full.

    Raises:
        TornWrite: A part of it was written, at the end of the spool, without an LF.
        OSError: Nothing was written.
    """
    written = os.write(fd, line)
    if written == len(line):
        return
    # The rest must not follow: another writer may have appended by now. End the piece, start over.
    try:
        again = os.write(fd, b"\n" + line)
    except OSError as error:
        raise TornWrite(error.errno, os.strerror(error.errno or 0)) from error
    if again != len(line) + 1:
        raise TornWrite(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _prepare(fd: int, path: Path) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    if status.st_size == 0 and status.st_uid == os.geteuid():
        with contextlib.suppress(OSError):  # a file system without modes
            os.fchmod(fd, SPOOL_MODE)  # the umask of the task is not the daemon's business
    lock(fd)
    if status.st_size and os.pread(fd, 1, status.st_size - 1) != b"\n":
        os.write(fd, b"\n")


def lock(fd: int) -> bool:
    """Take `flock(LOCK_SH)`, waiting 50 ms at most; return whether it was to be had."""
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_SECONDS)
        except OSError:  # a file system without locks: the daemon goes by what is written
            return False
        else:
            return True
    return False
