"""Who holds a home: one daemon at a time, by a lock that the kernel frees when it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from steplog.home import make_folder, open_private
from steplog.served import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ATTEMPTS: Final = 20  # `holder_of` holds the lock for a moment
_PAUSE_SECONDS: Final = 0.01


class HomeHeld(Exception):  # it is a state of affairs, not a mistake
    """Another daemon holds the home; the text says which."""


@contextlib.contextmanager
def hold(home: Path) -> Iterator[None]:
    """Hold a home for as long as the block lasts.

    Raises:
        HomeHeld: Another daemon does.
        OSError: The home cannot be written.
    """
    make_folder(home)
    fd = open_private(home / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not _lock(fd):
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise HomeHeld(
                f"{home} is held by the steplogd with process id {pid}: "
                "end that one first, or set STEPLOG_HOME to another folder."
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False
