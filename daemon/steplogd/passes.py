"""What one pass of the line folds of which run, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from steplogd.core.fold import Fold
from steplogd.core.state import Changes
from steplogd.intake.tail import Chunk
from steplogd.store.archived import ArchivedSpool
from steplogd.store.run_logs import FoldedRun

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = structlog.get_logger()


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
    """What is to be committed of a run, the chunk that it comes from, and its archived spool."""

    run_id: str
    run: OpenRun
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


def together(passes: Iterable[Pass]) -> Pass:
    """Return what several passes did."""
    whole = Pass()
    for one in passes:
        whole.late |= one.late
        whole.advanced |= one.advanced
        whole.unfinished += one.unfinished
    return whole


def log_end(run_id: str, run: OpenRun) -> None:
    """Say that a run has ended, and how."""
    state = run.folded.state
    _log.info(
        "run ended",
        run=run_id,
        status=state.status,
        observations=state.position,
        reason=state.message or None,
    )
