"""Whether anybody writes to a file, or may: asked of the kernel, by locks and leases."""

from __future__ import annotations

import contextlib
import fcntl
import signal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Writers = Literal["somebody", "nobody", "unknown"]
"""Whether anybody has a file open to write to it: not known of another user's file, without the
capability CAP_LEASE, nor on a file system without leases or that other machines share."""


class NotNow(Exception):  # it is a state of affairs, not a mistake
    """A spool has to stay where it is for now; the text says why."""


def writers_of(fd: int) -> Writers:
    """Ask the kernel whether anybody has a file open to write to it.

    It grants a read lease only where nobody has. Who opens the file while we have it waits until it
    is given back, some microseconds later, or tries again, as the SDK does. That can be only who
    knows the file's new name, or was on the way by its old one.

    Args:
        fd: The file, opened to read.
    """
    try:
        # The signal when somebody opens it meanwhile would end us, were it the usual one.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return "somebody"
    except OSError:
        return "unknown"
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return "nobody"


@contextlib.contextmanager
def locked(fd: int) -> Iterator[None]:
    """Hold the lock that writers share, for some microseconds: they wait for it, but not long.

    Raises:
        NotNow: A writer holds it.
        OSError: The file system has no locks, say.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotNow("a writer holds its lock") from None
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
