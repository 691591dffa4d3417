"""Whether a daemon serves a home: told by the lock that it holds while it lives."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME: Final = "steplogd.lock"
"""The file in a home that its daemon holds `flock(LOCK_EX)` on, with its process id in it."""


def holder_of(home: Path) -> int | None:
    """Return the process id of the daemon that holds a home; None when none does.

    Raises:
        OSError: It is not for this user to see.
    """
    try:
        # Not to wait for whoever writes a pipe that somebody has laid there.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(home / LOCK_NAME, flags)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(fd, 32, 0).strip()
        return int(pid) if pid.isdigit() else None
    else:
        return None
    finally:
        os.close(fd)
