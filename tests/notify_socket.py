"""The socket of a service manager, for tests: it hears what a daemon tells, as it comes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


class Heard(NamedTuple):
    """One datagram: when it came, by the monotonic clock, and its assignments."""

    at: float
    told: dict[str, str]


class Manager:
    """Hears all that is told on a socket, from the beginning.

    Args:
        name: What `NOTIFY_SOCKET` says: a path, or `@` and a name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[Heard] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._socket.close()

    def values(self, key: str) -> list[str]:
        """Return all values that one key was given, in their order."""
        return [told[key] for _, told in list(self.heard) if key in told]

    def count(self, key: str) -> int:
        """Return how often a key was told."""
        return len(self.values(key))

    def last(self, key: str) -> float:
        """Return when a key was told last, by the monotonic clock."""
        return max(at for at, told in list(self.heard) if key in told)

    @property
    def status(self) -> str:
        """What the service says of itself."""
        return (self.values("STATUS") or [""])[-1]

    def wait_for(self, key: str, count: int = 1) -> None:
        """Wait until a key was told so often."""
        wait_until(lambda: self.count(key) >= count)

    def wait_for_status(self, part: str) -> None:
        """Wait until the service says of itself what has this part."""
        wait_until(lambda: part in self.status)

    def wait_for_more(self, key: str, count: int = 3) -> None:
        """Wait until a key was told so many more times."""
        self.wait_for(key, self.count(key) + count)

    def _listen(self) -> None:
        while datagram := self._socket.recv(4096):
            lines = datagram.decode("utf-8").split("\n")
            told = dict(line.split("=", 1) for line in lines)
            self.heard.append(Heard(time.monotonic(), told))


@contextlib.contextmanager
def managing(folder: Path, watchdog_seconds: float = 0.0) -> Iterator[Manager]:
    """Be the service manager of all daemons that are started within the block."""
    variables = {"NOTIFY_SOCKET": str(folder / "notify")}
    if watchdog_seconds:
        variables["WATCHDOG_USEC"] = str(round(watchdog_seconds * 1_000_000))
    with Manager(variables["NOTIFY_SOCKET"]) as manager:
        os.environ.update(variables)
        try:
            yield manager
        finally:
            for name in variables:
                os.environ.pop(name, None)
            Path(manager.name).unlink()
