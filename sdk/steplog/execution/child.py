"""The command as a child: started, told what this process is told, and waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Final, Protocol

from steplog.execution import last_words
from steplog.execution.ending import name_of
from steplog.execution.warning import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FORWARDED: Final = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGINT,
    signal.SIGQUIT,
)
_WATCHED: Final = (*_FORWARDED, signal.SIGCHLD, signal.SIGWINCH)

_SI_KERNEL: Final = 0x80
"""`si_code` of a signal that a terminal sent, to the command as well: they are in one group."""

_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)

_FIRST_LOOK_SECONDS: Final = 0.01
_LOOK_SECONDS: Final = 1.0


class Observer(Protocol):
    """Who is told, while the command runs, when there may be something to do."""

    def look(self) -> None:
        """Look what has come; called often at first, about once a second later."""

    def before_signal(self, number: int) -> None:
        """Look while there is still somebody; called before a signal does its work."""

    def resize(self) -> None:
        """Take over the size of the terminal."""


class Child:
    """A command that runs; it shares our group, terminal, folder, descriptors and umask.

    Whoever makes one is the main thread, before any other thread: the signals that are passed on
    are held back from then on, and taken one by one by `wait`.

    Attributes:
        pid: Its process id, valid until `wait` has returned.
    """

    def __init__(self) -> None:
        self.pid = 0
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would leave nothing to wait for

    def start(
        self,
        program: str,
        words: list[str],
        environment: Mapping[bytes, bytes],
        outputs: Mapping[int, int],
    ) -> None:
        """Start the program, with `outputs` (by the number that it sees) in place of ours.

        Raises:
            OSError: It cannot be.
        """
        self.pid = os.posix_spawn(
            program,
            words,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, seen) for seen, fd in outputs.items()],
            setsigmask=self._mask,
            setsigdef=_IGNORED_BY_PYTHON,
        )

    def wait(self, observer: Observer) -> int:
        """Wait for its end, and return the wait status."""
        with _ticking():
            return self._wait(observer)

    def _wait(self, observer: Observer) -> int:
        while True:
            arrived = signal.sigwaitinfo(_WATCHED)
            if arrived.si_signo == signal.SIGCHLD:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    return status
                observer.look()
            elif arrived.si_signo == signal.SIGWINCH:
                # It has the signal from the kernel too, perhaps before its terminal has the size.
                observer.resize()
                with contextlib.suppress(PermissionError):
                    os.kill(self.pid, signal.SIGWINCH)
            else:
                observer.before_signal(arrived.si_signo)
                if arrived.si_code != _SI_KERNEL:
                    self._pass_on(arrived.si_signo)
                if last_words.keeps_waiting(self.pid, arrived.si_signo):
                    observer.before_signal(signal.SIGKILL)
                    return self._end_as_by(arrived.si_signo)

    def _pass_on(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except PermissionError:  # sudo, say, has made it another user's
            warn(
                f"{name_of(number)} cannot be passed on to process {self.pid}, which is another "
                "user's; send it as that user"
            )

    def _end_as_by(self, number: int) -> int:
        """End it as a signal would that it has a trap of ours for; return that wait status."""
        with contextlib.suppress(PermissionError):
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        return number if os.WIFSIGNALED(status) else status


@contextlib.contextmanager
def _ticking() -> Iterator[None]:
    """Send this process SIGCHLD now and then: often at first, about once a second later.

    A timeout would not do: CPython's `sigtimedwait` returns a signal that never was, such as number
    -65573128, when its time runs out while the process is stopped.
    """
    is_over = threading.Event()
    ticks = threading.Thread(target=_tick, args=(is_over,), name="ticks")
    ticks.start()
    try:
        yield
    finally:
        is_over.set()
        ticks.join()


def _tick(is_over: threading.Event) -> None:
    pause = _FIRST_LOOK_SECONDS
    while not is_over.wait(pause):
        os.kill(os.getpid(), signal.SIGCHLD)
        pause = min(2 * pause, _LOOK_SECONDS)
