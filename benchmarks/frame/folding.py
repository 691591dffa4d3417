"""Folds all that the spools of a home have, as a daemon does, but within this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steplogd.folding.line import Line
from steplogd.retention.archive import Archive
from steplogd.retention.archived_spools import ArchivedSpools
from steplogd.store.archived import Archived
from steplogd.store.run_logs import RunLogs

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.store.database import Database


def line_over(home: Path, database: Database, grace_seconds: float = 2.0) -> Line:
    """Return a line over a home, as a daemon has it that has just started."""
    archived = ArchivedSpools(Archive(home), Archived(database))
    return Line(home, RunLogs(database), grace_seconds, 3600.0, archived)


def fold_all(line: Line) -> None:
    """Fold and commit, pass after pass, until nothing of what is there now is left."""
    left = line.spools.grown()
    while left:
        done = line.run(left)
        left = [*done.skipped, *done.unfinished]
