"""The supervisor: the service manager that started this process, if one did."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from steplogd.systemd.notify_socket import NotifySocket

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_MICROSECONDS: Final = 1_000_000


class Supervisor:
    """Is told how the daemon is; where there is none, every method does nothing.

    Attributes:
        is_there: Whether there is one.
        watchdog_seconds: Within which time it wants to hear that we are alive; None if it does not.

    Args:
        socket: Where it listens.
        watchdog_seconds: The same.
    """

    def __init__(
        self, socket: NotifySocket | None = None, watchdog_seconds: float | None = None
    ) -> None:
        self.is_there = socket is not None
        self.watchdog_seconds = watchdog_seconds if socket else None
        self._socket = socket
        self._status = ""

    @classmethod
    def found(cls, environment: MutableMapping[str, str], pid: int) -> Supervisor:
        """Return the one that an environment names, and take it out of there.

        So no process that we start can speak for us, W&B's say.
        """
        name = environment.pop("NOTIFY_SOCKET", "")
        usec = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", str(pid))
        if not name.startswith(("/", "@")):
            return cls()
        is_watched = meant == str(pid) and usec.isascii() and usec.isdigit() and int(usec) > 0
        return cls(NotifySocket(name), int(usec) / _MICROSECONDS if is_watched else None)

    def ready(self, status: str) -> None:
        """Say that all is up, or up again after `reloading`."""
        self._tell(READY=1, STATUS=status)
        self._status = status

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` has to follow."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(RELOADING=1, MONOTONIC_USEC=now)  # in one datagram: `notify-reload` asks for it

    def stopping(self, status: str) -> None:
        """Say that we are about to end."""
        self._tell(STOPPING=1, STATUS=status)
        self._status = status

    def status(self, status: str) -> None:
        """Say in words what we do, where that is news."""
        if status != self._status:
            self._status = status
            self._tell(STATUS=status)

    def alive(self) -> None:
        """Say that we get on."""
        self._tell(WATCHDOG=1)

    def more_time(self, seconds: float) -> None:
        """Ask for so many seconds from now, to start or to stop in; to be asked for again then."""
        self._tell(EXTEND_TIMEOUT_USEC=round(seconds * _MICROSECONDS))

    def flush(self) -> None:
        """Say what could not be said before."""
        if self._socket is not None:
            self._socket.flush()

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()

    def _tell(self, **assignments: str | int) -> None:
        if self._socket is not None:
            self._socket.tell(**assignments)
