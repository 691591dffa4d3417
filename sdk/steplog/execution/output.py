"""The output of a command: to where ours goes, as it comes, and into the log of its task."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import termios
import threading
import time
from typing import TYPE_CHECKING, Final

from steplog.execution.warning import warn

if TYPE_CHECKING:
    from steplog.execution.log import Log

GRACE_SECONDS: Final = 0.5
"""For how long to wait, after the command has ended, for those that it left in the background."""

_CHUNK_BYTES: Final = 64 * 1024
_MOST_LEFT_BYTES: Final = 1024 * 1024
"""No pipe holds more: what a command printed before its end is within that much."""

_OUTPUT_FLAGS: Final = 1
"""Where `tcgetattr` has them."""


class Output:
    """Passes on what the command prints, in a thread of its own.

    A stream of ours that is a terminal is one for the command, too: of the same size and settings,
    but that a line ends in LF, so that the log has no CR. What goes to the same file comes through
    one pipe, so that its order is kept.

    Args:
        log: The log of the task, if there is one.

    Attributes:
        ends: What the command gets for each of its own descriptors.
    """

    def __init__(self, log: Log | None) -> None:
        self._log = log
        self._targets: dict[int, int] = {}  # where to write, by what is read
        self._terminals: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        for group in _groups():
            try:
                self._open(group)
            except OSError as error:  # the command has ours then
                warn(f"what the command prints is not kept ({error})")
        self._stopping = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._pass_on, name="output")

    def start(self) -> None:
        """Begin to pass on; the command has been started."""
        self._close_ends()
        self._thread.start()

    def finish(self) -> None:
        """Pass on what is still there; the command has ended."""
        os.eventfd_write(self._stopping, 1)
        self._thread.join()
        self.abandon()

    def abandon(self) -> None:
        """Close all that is open; nothing is being passed on."""
        self._close_ends()
        for source in list(self._targets):
            self._close(source)
        os.close(self._stopping)

    def resize(self) -> None:
        """Give the command's terminals the size that ours have."""
        for source, target in list(self._terminals.items()):
            with contextlib.suppress(OSError):  # closed just now
                _copy_size(target, source)

    def _open(self, group: tuple[int, ...]) -> None:
        target = group[0]
        if os.isatty(target):
            source, end = os.openpty()
            self._terminals[source] = target
            _copy_settings(target, end)
            _copy_size(target, source)
        else:
            source, end = os.pipe()
        self._targets[source] = target
        self.ends |= dict.fromkeys(group, end)

    def _close_ends(self) -> None:
        for end in set(self.ends.values()):
            os.close(end)
        self.ends = {}

    def _close(self, source: int) -> None:
        self._terminals.pop(source, None)
        del self._targets[source]
        os.close(source)

    def _pass_on(self) -> None:
        poll = select.poll()
        for source in [*self._targets, self._stopping]:
            poll.register(source, select.POLLIN)
        while self._targets:
            ready = [fd for fd, _ in poll.poll()]
            if self._stopping in ready:
                poll.unregister(self._stopping)
                break
            for source in ready:
                self._pass_on_chunk(poll, source)
        self._pass_on_rest(poll)

    def _pass_on_rest(self, poll: select.poll) -> None:
        """Pass on what was printed before the end, and what still comes in a short time."""
        patience, left = GRACE_SECONDS, _MOST_LEFT_BYTES
        while self._targets and patience > 0 and left > 0:
            began = time.monotonic()
            ready = poll.poll(patience * 1000)
            patience -= time.monotonic() - began
            for source, _ in ready:
                left -= self._pass_on_chunk(poll, source)

    def _pass_on_chunk(self, poll: select.poll, source: int) -> int:
        chunk = _read(source)
        if chunk and self._log is not None:
            self._log.write(chunk)
        # When nobody reads ours any more, the command is to learn it as it would without us.
        if not chunk or not _write(self._targets[source], chunk):
            poll.unregister(source)
            self._close(source)
        return len(chunk)


def _groups() -> list[tuple[int, ...]]:
    """Return our stdout and stderr, together when they are the same file."""
    opened = [fd for fd in (1, 2) if _is_open(fd)]
    if len(opened) == 2 and os.path.sameopenfile(1, 2):
        return [(1, 2)]
    return [(fd,) for fd in opened]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _read(source: int) -> bytes:
    try:
        return os.read(source, _CHUNK_BYTES)
    except OSError:  # a terminal whose other end is closed
        return b""


def _write(target: int, chunk: bytes) -> bool:
    """Write all of it; return whether anybody reads it."""
    while chunk:
        try:
            chunk = chunk[os.write(target, chunk) :]
        except BlockingIOError:  # whoever gave it to us made it so
            select.select([], [target], [])
        except OSError as error:
            if error.errno != errno.EPIPE:
                warn(f"what the command prints cannot be written ({error.strerror})")
            return False
    return True


def _copy_settings(terminal: int, end: int) -> None:
    settings = termios.tcgetattr(terminal)
    settings[_OUTPUT_FLAGS] &= ~termios.ONLCR
    termios.tcsetattr(end, termios.TCSANOW, settings)


def _copy_size(terminal: int, end: int) -> None:
    size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, b"\0" * 8)
    fcntl.ioctl(end, termios.TIOCSWINSZ, size)
