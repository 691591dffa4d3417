"""An exporter over a ledger and a courier that do as told, for tests."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import anyio

from steplogd.delivery.exporter import Exporter
from tests.conftest import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable


class Ledger:
    """Knows what is behind, and what was noted of the backend's health."""

    def __init__(self, *run_nos: int) -> None:
        self.run_nos = list(run_nos)
        self.failures: list[Exception] = []
        self.health: list[str] = []
        self.unwritable = 0

    def behind(self, _: str) -> list[int]:
        """Return what is behind, or fail as told."""
        if self.failures:
            raise self.failures.pop()
        return self.run_nos

    def note_health(self, _: str, error: str) -> None:
        """Remember it, or fail as often as told."""
        if self.unwritable:
            self.unwritable -= 1
            raise OSError("locked")
        self.health.append(error)


class Courier:
    """Counts what it is asked to do, and how much of it at once."""

    def __init__(self, act: Callable[[int], bool] = lambda _: False) -> None:
        self.act = act
        self.calls: Counter[int] = Counter()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def advance(self, run_no: int) -> bool:
        """Do as told."""
        with self.lock:
            self.calls[run_no] += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self.act(run_no)
        finally:
            with self.lock:
                self.at_once -= 1


def build(courier: Courier, ledger: Ledger, parallel_runs: int = 2) -> Exporter:
    """Build an exporter of doubles that have just what it uses."""
    return Exporter("x", courier, ledger, parallel_runs)  # type: ignore[arg-type]


async def until_idle(exporter: Exporter) -> None:
    """Wait until nothing is left to be delivered."""
    with anyio.fail_after(DEADLINE_SECONDS):
        await exporter.is_idle.wait()
