"""Where things lie: the paths under the home."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HOME_MODE: Final = 0o700
"""What tasks track is nobody else's to read."""

FILE_MODE: Final = 0o600
"""So is what else there is of them, in files that nobody else appends to or reads."""

FIRST_FREE: Final = 3
"""The lowest descriptor that is none of the standard streams'."""

_SYNCS_NO_FOLDERS: Final = (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP)
"""What a file system says that has no way to sync a folder."""

SPOOL_MODE: Final = 0o640
"""A daemon in the folder's group can read a spool, whatever the umask of the task."""


def default_home() -> Path:
    """Return `$STEPLOG_HOME`, else `$XDG_STATE_HOME/steplog`, else `~/.local/state/steplog`.

    Raises:
        RuntimeError: None of them is set, and the user has no home directory.
    """
    if home := os.environ.get("STEPLOG_HOME"):
        return Path(home).absolute()
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state, "steplog").absolute()
    return Path.home() / ".local" / "state" / "steplog"


def nearest_there(path: Path) -> Path:
    """Return a path if it is there, else the nearest of its parents that is."""
    return next(one for one in (path, *path.parents) if one.exists())


def make_folder(path: Path) -> None:
    """Make a folder of a home, for its owner alone whatever the umask; one that is there stays.

    Raises:
        OSError: It cannot be made, or something else has its name.
    """
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=HOME_MODE, exist_ok=True)
    path.chmod(HOME_MODE)


def sync_folder(path: Path) -> None:
    """Return when the names in a folder would survive a power cut, where that can be had at all.

    Raises:
        OSError: It is not this user's to list, or its disk broke.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _SYNCS_NO_FOLDERS:
            raise
    finally:
        os.close(fd)


def move_up(fd: int, least: int = FIRST_FREE) -> int:
    """Return a descriptor of the same file with at least this number, or one beyond the streams.

    Where a standard stream is closed, the next file that is opened takes its number, and whatever
    the program prints would land in that file.

    Raises:
        OSError: It is a stream's, and no other number is left; it is closed then.
    """
    if fd >= least:
        return fd
    for lowest in (least, FIRST_FREE):
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:  # a limit of the process is below that, or all are taken
            continue
        os.close(fd)
        return moved
    if fd >= FIRST_FREE:
        return fd
    os.close(fd)
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def open_private(path: Path | str, flags: int, folder: int | None = None) -> int:
    """Open a file of a home, and make it for its owner alone whatever the umask.

    Args:
        path: The file.
        flags: Those of `os.open`.
        folder: A descriptor of the folder that the path begins in.

    Raises:
        OSError: It cannot be opened.
    """
    fd = move_up(os.open(path, flags, FILE_MODE, dir_fd=folder))
    with contextlib.suppress(OSError):  # a file system without modes
        if os.fstat(fd).st_size == 0:
            os.fchmod(fd, FILE_MODE)
    return fd


def is_taken(path: Path, is_right_kind: Callable[[int], bool] = stat.S_ISREG) -> bool:
    """Tell whether something that is not ours has a name in a folder that several users share.

    Args:
        path: The name.
        is_right_kind: Tells of a mode whether it is what should lie there; a spool is a file.
    """
    try:
        status = path.lstat()
    except OSError:
        return False
    return not is_ours(status, is_right_kind) and is_shared(path.parent)


def is_shared(folder: Path) -> bool:
    """Tell whether several users make files in a folder: it is sticky, so that each keeps his."""
    try:
        return bool(folder.stat().st_mode & stat.S_ISVTX)
    except OSError:
        return False


def is_ours(status: os.stat_result, is_right_kind: Callable[[int], bool] = stat.S_ISREG) -> bool:
    """Tell whether something belongs to this user, and is what it should be."""
    return status.st_uid == os.geteuid() and is_right_kind(status.st_mode)


def owner_mark(spool: Path) -> Path:
    """Return the link that tells, where several users share a home, whose a run is.

    It is there once a spool of the run was archived, and belongs to the owner of the folder; it
    leads nowhere, but its text is the user's number. So nobody takes the run by its name.
    """
    return spool.with_name(f".{spool.stem}.owner")


def run_owner(spool: Path) -> str | None:
    """Return the number of the user whose spool was archived that had this name; None if none."""
    mark = owner_mark(spool)
    try:
        owner = str(mark.readlink())
        is_true = mark.lstat().st_uid == spool.parent.stat().st_uid
    except OSError:
        return None
    return owner if is_true else None


def is_anothers(spool: Path, uid: int) -> bool:
    """Tell whether a run is another user's, whose spool of it was archived."""
    return run_owner(spool) not in (None, str(uid)) and is_shared(spool.parent)


def spool_folder(home: Path) -> Path:
    """Return the folder that tasks append in."""
    return home / "spool"


def spool_path(home: Path, run_id: str) -> Path:
    """Return the spool of a run; the id must be valid."""
    return home / "spool" / f"{run_id}.jsonl"


def archive_folder(home: Path) -> Path:
    """Return the folder of the spools that were taken away once their runs had long ended."""
    return home / "archive"


def database_path(home: Path) -> Path:
    """Return the SQLite file with run logs, checkpoints, cursors and dead letters."""
    return home / "steplog.db"


def document_path(home: Path, run_id: str) -> Path:
    """Return where a run's log lies as one JSON document, once the run has ended."""
    return home / "runs" / f"{run_id}.json"


def catalog_folder(home: Path) -> Path:
    """Return the folder of the catalog, which has a folder for each run."""
    return home / "catalog"
