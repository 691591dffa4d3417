"""A home with a run that has ended, whose spool is archived by hand: for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from steplogd.folding.line import Line
from steplogd.retention.archive import Archive, Place
from steplogd.retention.archived_spools import ArchivedSpools
from steplogd.retention.archivist import Archivist
from steplogd.store.archived import START, Archived, FinishedRun
from steplogd.store.database import Database
from steplogd.store.documents import Documents
from steplogd.store.run_logs import RunLogs
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.core.retention import Action

END_OF_TIMES = 2**63 - 1
PLACE = Place("r", 1)
STEPS = 20


class Shelf:
    """A home with one run, `r`, that has ended and whose document is noted as written."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.open_store()
        self.archive = Archive(home)
        a = Scribe()
        begin = a.line("open"), a.line("join")
        tracks = [a.track(step=step) for step in range(STEPS - 1)]
        visitor = line("track", step=STEPS - 1, values={"x": 1})  # would count twice, if read twice
        append(home, "r", *begin, *tracks, visitor, a.line("leave"))
        self.start()
        self.line.run(["r"])
        self.line.end_runs(0.0, 0.0)
        self.line.end_runs(10.0, 10.0)
        for run in Documents(self.database).outdated():
            Documents(self.database).written(run.run_no, run.position, run.revision)

    def start(self) -> None:
        """Let a daemon start: it looks at what lies there, and goes by that."""
        spools = ArchivedSpools(self.archive, self.archived)
        self.line = Line(self.home, RunLogs(self.database), 1.0, 100.0, spools)
        self.archivist = Archivist(self.home, self.archive, self.archived, self.line)

    def close(self) -> None:
        """Close the files that are read."""
        self.line.close()

    def lose_store(self) -> None:
        """Let a daemon start with a new store."""
        self.database.close()
        for path in self.home.glob("steplog.db*"):
            path.unlink()
        self.open_store()
        self.start()

    def open_store(self) -> None:
        """Open the store anew."""
        self.database = Database(self.home / "steplog.db")
        self.archived = Archived(self.database)

    def finished(self) -> list[FinishedRun]:
        """Return all runs that have ended and have a spool."""
        return self.archived.finished(START, END_OF_TIMES, 100)

    def take(self) -> None:
        """Archive the spool of the run."""
        (run,) = self.finished()
        self.archivist.take(run)

    def finish(self, action: Action) -> None:
        """Compress or remove the archived spool, as if it had rested for long."""
        ((run_no, _, spool),) = self.archived.in_state("resting", START, 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("steplogd.retention.archivist.REST_SECONDS", 0.0)
            self.archivist.finish(run_no, PLACE, spool, action, 0.0, lambda: None)

    def remove(self, *, is_compressed: bool = False) -> None:
        """Remove the archived spool, which lies there as it was or compressed."""
        if not is_compressed:
            self.finish("remove")
            return
        ((run_no, _, spool),) = self.archived.in_state("compressed", START, 1)
        self.archivist.remove_compressed(run_no, PLACE, spool)

    def fold(self) -> list[int]:
        """Fold all that there is; return the steps that are in the run log, in their order."""
        while run_ids := self.line.unfolded(self.line.spools.sizes()):
            self.line.run(run_ids)
        with self.database.reading() as connection:
            sql = "SELECT step FROM observation ORDER BY position"
            return [step for (step,) in connection.execute(sql)]

    def doubt(self) -> int | None:
        """Return up to where a tracker may hold more of the run than its cursor says."""
        with self.database.reading() as connection:
            ((position,),) = connection.execute("SELECT position FROM doubt")
        return None if position is None else int(position)

    def row(self) -> tuple[Any, ...]:
        """Return what the store knows of the archived spool: how far it is folded, its state."""
        spool = self.archived.known(["r"]).get(("r", 1))
        return (spool.offset, spool.state) if spool else ()


def all_steps(count: int = STEPS) -> list[int]:
    """Return the steps of all that was tracked."""
    return list(range(count))
