"""A run on its way from the store to a tracker in memory, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steplogd.delivery.contract import Refused
from steplogd.delivery.courier import Courier
from steplogd.delivery.memory import MemoryBackend, MemoryOptions
from steplogd.store.cursors import Cursors
from steplogd.store.run_logs import FoldedRun, RunLogs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from steplogd.core.fold import Fold
    from steplogd.delivery.memory import Call, MemoryTracker
    from steplogd.store.database import Database


class Route:
    """A store with one run, a tracker in memory, and the courier between them."""

    def __init__(self, database: Database, home: Path) -> None:
        self.run_logs = RunLogs(database)
        self.cursors = Cursors(database)
        self.backend = MemoryBackend(MemoryOptions(), home)
        self.courier = Courier("x", self.backend, self.cursors)
        self.database = database

    @property
    def tracker(self) -> MemoryTracker:
        """Return what is delivered to."""
        return self.backend.tracker

    def commit(self, folding: Fold, run_no: int = 0) -> int:
        """Commit a fold; return the run's number."""
        run = FoldedRun(run_no, folding.state, 0)
        self.run_logs.commit([(run, folding.take_changes())])
        return run.run_no

    def deliver(self, run_no: int) -> None:
        """Advance until there is no more."""
        while self.courier.advance(run_no):
            pass

    def arrived(self, run_id: str = "r") -> list[int]:
        """Return the positions that arrived."""
        return sorted(self.tracker.runs[run_id].observations)

    def dead(self) -> dict[int, str]:
        """Return the dead letters, by position."""
        with self.database.reading() as connection:
            return dict(connection.execute("SELECT position, reason FROM dead_letter"))


def refuse(*keys: str) -> Callable[[Call], None]:
    """Return a fault: these keys are refused, and so is every batch that holds one."""

    def fault(call: Call) -> None:
        bad = [seen.key for seen in call.batch if seen.key in keys]
        if bad:
            raise Refused(f"bad key {bad[0]}")

    return fault
