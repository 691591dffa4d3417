"""An imported spool's way into the home: whole or not at all, and never over another one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from typing import TYPE_CHECKING, Final, Literal

from steplog.decoding import decode
from steplog.errors import RunNotFound
from steplog.events import MAX_LINE_BYTES, Open
from steplog.home import (
    SPOOL_MODE,
    document_path,
    is_taken,
    make_folder,
    run_owner,
    spool_folder,
    spool_path,
    sync_folder,
)
from steplog.room import Room
from steplog.store_reader import NothingFolded, find_run, rows, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Standing = Literal["absent", "same", "other"]

_TMPFILE: Final = os.O_TMPFILE
_NO_TMPFILE: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
"""What a file system, or a kernel, says that knows no files without a name."""


def standing(home: Path, run_id: str, w: str) -> Standing:
    """Tell whether a run is in the home, and whether it was imported by this writer.

    Raises:
        StoreUnreadable: The run log store cannot be read.
        OSError: The spool cannot be read.
    """
    try:
        with open(spool_path(home, run_id), "rb", opener=_open_plainly) as spool:
            first = decode(spool.readline(MAX_LINE_BYTES))
    except FileNotFoundError:
        return _standing_without_spool(home, run_id, w)
    except OSError:
        if is_taken(spool_path(home, run_id)):
            return "other"
        raise
    return "same" if first and isinstance(first[0], Open) and first[0].w == w else "other"


def place(home: Path, run_id: str, lines: Iterable[bytes]) -> None:
    """Write the spool of a run; on return it is on disk.

    Killed at any time, there is no spool, or the whole one.

    Raises:
        FileExistsError: The run has a spool by now; it is as it was.
        NoRoom: The disk is full but for what is left to others; there is no spool.
        Exception: What the lines raise, or OSError; there is no spool.
    """
    folder = spool_folder(home)
    make_folder(home)
    make_folder(folder)
    with _unfinished(folder) as (fd, name):
        with os.fdopen(fd, "wb", closefd=False) as file:
            file.writelines(_while_there_is_room(fd, lines))
        with contextlib.suppress(OSError):  # a file system without modes
            os.fchmod(fd, SPOOL_MODE)
        os.fsync(fd)
        # Given any descriptor, linkat(2) is called, which follows the link in /proc.
        os.link(name, spool_path(home, run_id), src_dir_fd=fd, follow_symlinks=True)
    with contextlib.suppress(OSError):  # a home that several users share: none of them may list it
        sync_folder(folder)


def _while_there_is_room(fd: int, lines: Iterable[bytes]) -> Iterator[bytes]:
    room, left = Room(), 0
    for line in lines:
        left -= len(line)
        if left < 0:
            left = room.claim(fd, len(line))
        yield line


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[tuple[int, str]]:
    """Give a file that vanishes with its descriptor: that, and the name to link it by."""
    try:
        fd = os.open(folder, _TMPFILE | os.O_WRONLY | os.O_CLOEXEC, SPOOL_MODE)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".import-") as file:
            yield file.fileno(), file.name
        return
    try:
        yield fd, f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _open_plainly(path: str, flags: int) -> int:
    """Open a file, and wait for nobody; another user's pipe or link may have its name.

    Raises:
        OSError: It is no file.
    """
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is not a regular file", path)
    return fd


def _standing_without_spool(home: Path, run_id: str, w: str) -> Standing:
    try:
        if not document_path(home, run_id).exists() and not _is_in_run_log(home, run_id):
            return "absent"
        return "same" if _is_writer(home, run_id, w) else "other"
    except PermissionError:  # a home that several users share: what lies beside spools says enough
        return "absent" if run_owner(spool_path(home, run_id)) is None else "other"


def _is_writer(home: Path, run_id: str, w: str) -> bool:
    """Tell whether a run was imported by this writer, though its spool is not there any more."""
    sql = "SELECT 1 FROM writer JOIN run USING (run_no) WHERE run_id = ? AND w = ?"
    try:
        with snapshot(home) as connection:
            return next(rows(connection, sql, run_id, w), None) is not None
    except NothingFolded:
        return False


def _is_in_run_log(home: Path, run_id: str) -> bool:
    try:
        with snapshot(home) as connection:
            find_run(connection, run_id)
    except (NothingFolded, RunNotFound):
        return False
    return True
