"""A line over a home, and what it committed: the clock is the tests' to turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from steplogd.folding.line import Line
from steplogd.retention.archive import Archive
from steplogd.retention.archived_spools import ArchivedSpools
from steplogd.store.archived import Archived
from steplogd.store.database import Database
from steplogd.store.run_logs import RunLogs

if TYPE_CHECKING:
    from pathlib import Path

GRACE_SECONDS = 2.0
IDLE_SECONDS = 100.0


def line_over(
    home: Path,
    database: Database,
    grace_seconds: float = GRACE_SECONDS,
    idle_seconds: float = IDLE_SECONDS,
    run_logs: RunLogs | None = None,
) -> Line:
    """Return a line over a home, as a daemon has it that has just started."""
    archived = ArchivedSpools(Archive(home), Archived(database))
    run_logs = run_logs or RunLogs(database)
    return Line(home, run_logs, grace_seconds, idle_seconds, archived)


class Bench:
    """A line over a home, with clocks that stand still."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = Database(home / "steplog.db")
        self.now = 0.0
        self.wall_now = time.time()
        self.restart()

    def restart(self) -> None:
        """Begin anew from what is committed."""
        self.line = line_over(self.home, self.database)

    def fold(self) -> int:
        """Fold all that is there; return in how many passes."""
        passes = 0
        while run_ids := self.line.spools.grown():
            self.line.run(run_ids)
            passes += 1
        return passes

    def check_ends(self, seconds_later: float = 0.0) -> bool:
        """Turn the clock; return whether a run ended then."""
        self.now += seconds_later
        return bool(self.line.end_runs(self.now, self.wall_now))

    def check_some(self, seconds_later: float = 0.0) -> bool:
        """Do the same as the daemon does it: to look at those of whom it was told something."""
        self.now += seconds_later
        return bool(self.line.end_runs(self.now, self.wall_now, everyone=False))

    def run(self, run_id: str = "r") -> dict[str, Any]:
        """Return what is committed of a run."""
        with self.database.reading() as connection:
            cursor = connection.execute("SELECT * FROM run WHERE run_id = ?", (run_id,))
            names = [column[0] for column in cursor.description]
            return dict(zip(names, cursor.fetchone(), strict=True))

    def values(self, run_id: str = "r") -> list[Any]:
        """Return the values that are committed of a run."""
        sql = "SELECT value FROM observation JOIN run USING (run_no) WHERE run_id = ?"
        with self.database.reading() as connection:
            return [
                value
                for (value,) in connection.execute(
                    f"{sql} ORDER BY observation.position", (run_id,)
                )
            ]
