"""The spool as a file: opened for appending, locked while its writer lives, one write a line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from steplog.home import (
    SPOOL_MODE,
    document_path,
    is_anothers,
    is_ours,
    is_shared,
    is_taken,
    make_folder,
    move_up,
    run_owner,
    spool_path,
)
from steplog.interrupts import comes_from_signal_handler
from steplog.names import MAX_RUN_ID_CHARACTERS, check_run_id, propose_run_id
from steplog.room import Room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_ATTEMPTS: Final = 50
"""A daemon that looks whether anyone lives holds the lock for some microseconds; for some
milliseconds when a busy machine takes the processor from it just then."""

LOCK_PAUSE_SECONDS: Final = 0.001


CLOSED: Final = -1
"""No descriptor: a write to it fails."""

BROKEN: Final = (errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV)
"""What a write says whose file system broke; the path may lead to one that was mounted anew."""

_OUT_OF_THE_WAY: Final = 700
"""The lowest descriptor of a spool, below the usual limit of 1,024: a program that closes all of
them, as daemons do, opens files of its own with the lowest numbers, and our lines belong in none of
these."""

_OPENINGS: Final = 5
"""How often a spool is opened that is taken away just then; where it looks so for ever, the file
system numbers a file differently each time, and then the last one is good enough."""

_PROPOSALS: Final = 50
_STAND_INS: Final = 5


class TornWrite(OSError):
    """A line was written in part, and what stands in the spool ends without an LF."""


class SpoolTaken(OSError):
    """In a home that several users share, something of another user has the spool's name."""


def append_line(home: Path, run_id: str, line: bytes) -> str:
    """Append one line to the spool of a run as a visitor: open, write, close.

    On return the line is in the file, as any `write` is: a killed process or daemon loses nothing,
    a power cut may.

    Args:
        home: Where the spools lie; made when absent.
        run_id: The run; it need not exist yet.
        line: One JSON object with an LF at the end.

    Returns:
        The run whose spool has it: another one where the spool is another user's.

    Raises:
        InvalidName: The run id is none.
        NoRoom: The disk is full but for what is left to others; nothing was written.
        OSError: It could not be written; the spool has at most a torn piece of it.
    """
    run_id, fd = open_own_spool(home, run_id)
    try:
        Room().claim(fd, len(line))
        write_line(fd, line)
    finally:
        os.close(fd)
    return run_id


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
        SpoolTaken: It is another user's, in a home that several users share.
        OSError: It cannot be opened, or is no regular file.
    """
    return open_spool_and_look(home, run_id, exclusive=exclusive)[0]


def open_spool_and_look(home: Path, run_id: str, *, exclusive: bool = False) -> tuple[int, bool]:
    """Open a spool as `open_spool` does, and tell whether it stays one as long as it is open.

    It may not where somebody has its lock to himself: a daemon may be about to take it away.
    """
    path = spool_path(home, check_run_id(run_id))
    if is_anothers(path, os.geteuid()):
        raise _taken(path)
    try:
        return _open(path, exclusive=exclusive)
    except OSError as error:
        if not isinstance(error, (FileExistsError, SpoolTaken)) and is_taken(path):
            raise _taken(path) from error
        raise


def open_own_spool(home: Path, run_id: str) -> tuple[str, int]:
    """Open the spool of a run, or where that is another user's, of a run that stands in for it.

    Returns:
        The run whose spool it is, and the descriptor.

    Raises:
        InvalidName: The run id is none.
        OSError: It cannot be opened.
    """
    for own_id in stand_ins(check_run_id(run_id)):
        try:
            return own_id, open_spool(home, own_id)
        except SpoolTaken as error:
            taken = error
    raise taken


def open_chosen_spool(home: Path, run_id: str) -> tuple[str, int]:
    """Open the spool of a run as `open_own_spool` does; the descriptor may be `CLOSED`."""
    try:
        return open_own_spool(home, run_id)
    except OSError:  # the writer tries again with each event, and says what is wrong
        return run_id, CLOSED


def _open(path: Path, *, exclusive: bool) -> tuple[int, bool]:
    left = 1 if exclusive else _OPENINGS  # nobody takes away what is new and empty
    while True:
        fd, left = _open_file(path, exclusive=exclusive), left - 1
        try:
            is_locked = _prepare(fd, path)
            if not leads_elsewhere(fd, path) or not left:
                _end_torn_tail(fd)
                return fd, is_locked
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _open_file(path: Path, *, exclusive: bool) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    flags |= os.O_EXCL if exclusive else 0
    try:
        return _open_patiently(path, flags)
    except FileNotFoundError:
        make_folder(path.parent.parent)
        make_folder(path.parent)
        return _open_patiently(path, flags)


def _open_patiently(path: Path, flags: int) -> int:
    """Open a file, waiting 50 ms at most for a daemon that asks who has it open.

    It does so by a lease, for some microseconds, on a spool that it has just taken away; and who
    was on the way there by the spool's name is told that he would have to wait.
    """
    left = LOCK_ATTEMPTS
    while True:
        try:
            return move_up(os.open(path, flags, SPOOL_MODE), _OUT_OF_THE_WAY)
        except BlockingIOError:
            left -= 1
            if not left:
                raise
        time.sleep(LOCK_PAUSE_SECONDS)


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
            if not _was_there(home, run_id):
                return run_id, open_spool(home, run_id, exclusive=True)
        except FileExistsError:
            continue
        except OSError:  # the writer tries again with each event, and says what is wrong
            break
    return f"{propose_run_id()}-{os.urandom(4).hex()}", CLOSED


def is_deleted(fd: int) -> bool:
    """Tell whether nobody will ever see what is written to an open spool.

    Whoever then opens it again numbers on, so that a reader sees what is missing.
    """
    try:
        return fd != CLOSED and os.fstat(fd).st_nlink == 0
    except OSError as error:  # somebody closed it; the write will tell
        if comes_from_signal_handler(error):
            raise
        return False


def leads_elsewhere(fd: int, path: Path) -> bool:
    """Tell whether a spool's name does not lead to what is open, as far as that can be told."""
    try:
        return not os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return True
    except OSError as error:  # the write will tell
        if comes_from_signal_handler(error):
            raise
        return False


def _was_there(home: Path, run_id: str) -> bool:
    """Tell whether a run ended, whose spool may be archived by now and leave the name free."""
    try:
        if document_path(home, run_id).exists():
            return True
    except PermissionError:  # a home that several users share: the mark of its owner tells there
        pass
    return run_owner(spool_path(home, run_id)) is not None


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


def stand_ins(run_id: str) -> Iterator[str]:
    """Yield a run id, and those that stand in for it where it is another user's.

    The first of them is the same in all processes of a user, so that these meet in one run.
    """
    yield run_id
    uid = os.geteuid()
    yield _with_suffix(run_id, f"-u{uid}")
    for _ in range(_STAND_INS):
        yield _with_suffix(run_id, f"-u{uid}-{os.urandom(4).hex()}")


def _with_suffix(run_id: str, suffix: str) -> str:
    room = MAX_RUN_ID_CHARACTERS - len(suffix)
    if len(run_id) > room:  # cut, and still told from others that begin alike
        from hashlib import sha256

        mark = f"-{sha256(run_id.encode()).hexdigest()[:8]}"
        run_id = f"{run_id[: room - len(mark)]}{mark}"
    return run_id + suffix


def _taken(path: Path) -> SpoolTaken:
    return SpoolTaken(errno.EACCES, "is another user's", str(path))


def _prepare(fd: int, path: Path) -> bool:
    """Lock a spool; return False when somebody has its lock to himself.

    A daemon takes a spool away that nobody has locked, and then who comes next makes a new one:
    with the lock in hand, what the path leads to stays there.
    """
    status = os.fstat(fd)
    # A second name: what we would append to may be a file of ours that another user linked here.
    if not (is_ours(status) and status.st_nlink <= 1) and is_shared(path.parent):
        raise _taken(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    if status.st_size == 0 and status.st_uid == os.geteuid():
        with contextlib.suppress(OSError):  # a file system without modes
            os.fchmod(fd, SPOOL_MODE)  # the umask of the task is not the daemon's business
    return lock(fd)


def _end_torn_tail(fd: int) -> None:
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.write(fd, b"\n")


def lock(fd: int, attempts: int = LOCK_ATTEMPTS) -> bool:
    """Take `flock(LOCK_SH)`, waiting 50 ms at most; return False when somebody else has it alone.

    True on a file system without locks, too: a daemon takes nothing away there.
    """
    for attempt in range(attempts):
        if attempt:
            time.sleep(LOCK_PAUSE_SECONDS)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except OSError:
            pass  # the daemon goes by what is written
        return True
    return False
