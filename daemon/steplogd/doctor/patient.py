"""What is examined: a configuration, its home, and the daemon that serves it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steplog.served import LOCK_NAME, holder_of

if TYPE_CHECKING:
    from steplogd.config import Config

_LOCKS: Final = Path("/proc/locks")
_HOLDING: Final = [b"FLOCK", b"ADVISORY", b"WRITE"]


@dataclass(frozen=True)
class Patient:
    """A daemon's whole world, of which nothing is changed.

    Attributes:
        config: What it runs with.
        pid: The process that serves the home; None when none does, or nobody knows.
        is_pid_known: Whether it can be told who serves the home.
        timeout_seconds: How long a backend may take.
    """

    config: Config
    pid: int | None
    is_pid_known: bool
    timeout_seconds: float

    @property
    def home(self) -> Path:
        """Its home, which need not be there."""
        return self.config.home


def admit(config: Config, timeout_seconds: float) -> Patient:
    """Look who serves the home, and return all that is to be examined."""
    try:
        pid, is_known = serving_process(config.home), True
    except OSError:
        pid, is_known = None, False
    return Patient(config, pid, is_known, timeout_seconds)


def serving_process(home: Path) -> int | None:
    """Return the process that serves a home, also to those who must not open its lock.

    Raises:
        OSError: It is not for this user to see.
    """
    try:
        return holder_of(home)
    except PermissionError:
        return _holder_in_table(home / LOCK_NAME)


def _holder_in_table(lock: Path) -> int | None:
    """Find who holds a lock in the kernel's own table; raises OSError where that is not told."""
    status = lock.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in _LOCKS.read_bytes().splitlines():
        fields = line.split()
        if fields[1:4] == _HOLDING and fields[5] == device.encode() and int(fields[4]) > 0:
            return int(fields[4])
    return None
