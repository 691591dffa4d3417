"""What one pass of the line folds of which run, and what it did."""

from __future__ import annotations

import msgspec

from steplogd.core.fold import Fold
from steplogd.core.state import Changes
from steplogd.folding.run_news import Standing
from steplogd.intake.tail import Chunk
from steplogd.store.archived import ArchivedSpool
from steplogd.store.run_logs import FoldedRun


class OpenRun(msgspec.Struct):
    """A run between two passes.

    Attributes:
        folded: The run as it is committed.
        fold: What folds on from there.
        empty_since: Since when nobody is in it; None while somebody is.
    """

    folded: FoldedRun
    fold: Fold
    empty_since: float | None = None


class Folded(msgspec.Struct):
    """What is to be committed of a run, how it stood before, and where that comes from."""

    run_id: str
    run: OpenRun
    before: Standing
    changes: Changes
    chunk: Chunk | None = None
    archived: ArchivedSpool | None = None


class Pass(msgspec.Struct):
    """What one pass did.

    Attributes:
        advanced: Numbers of the runs whose log grew.
        late: Whether one of them had ended before.
        skipped: Runs that it had no room for; they come first in the next one.
        unfinished: Runs with more bytes to fold.
    """

    advanced: set[int] = set()
    late: bool = False
    skipped: list[str] = []
    unfinished: list[str] = []

    def add(self, other: Pass) -> None:
        """Add what another pass did."""
        self.advanced |= other.advanced
        self.late |= other.late
        self.skipped += other.skipped
        self.unfinished += other.unfinished
