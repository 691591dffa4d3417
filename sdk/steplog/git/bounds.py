"""What keeps a look at a repository short and harmless: a deadline, sizes, regular files alone."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Final

from steplog.errors import SteplogError

if TYPE_CHECKING:
    from pathlib import Path

BUDGET_SECONDS: Final = 0.2
"""For how long the start of a run may look: too short to be noticed, and some 30,000 files fit."""

MAX_FILE_BYTES: Final = 64 * 2**20
"""The largest of git's own files that is read: an index of this size has half a million entries,
far more than can be compared in time."""

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY


class Unreadable(SteplogError):
    """The repository is broken, or of a kind that is not understood; the text says in what."""


class OutOfTime(SteplogError):
    """There is more to look at than fits into the time."""


class Deadline:
    """When to stop looking: so many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise OutOfTime when it has passed; often enough is every few dozen system calls."""
        if time.monotonic() > self._end:
            raise OutOfTime(f"more files than could be looked at in {self.seconds:g} s")


def open_regular(path: Path | bytes, folder: int | None = None) -> int:
    """Open a file for reading; never waits, as a pipe or a device in its place would make it.

    Raises:
        Unreadable: It is no regular file.
        OSError: It cannot be opened, or is a symbolic link.
    """
    fd = os.open(path, _FLAGS, dir_fd=folder)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise Unreadable(f"{os.fsdecode(path)} is no regular file")


def read_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of one of git's own files.

    Raises:
        Unreadable: It is no regular file, or larger than any that is expected there.
        OSError: It cannot be opened, or is a symbolic link.
    """
    with open(open_regular(path), "rb", buffering=0) as file:
        content = file.read(max_bytes + 1) or b""
        while len(content) <= max_bytes and (more := file.read(max_bytes)):
            content += more
    if len(content) > max_bytes:
        raise Unreadable(f"{path} takes more than {max_bytes:,} bytes")
    return content
