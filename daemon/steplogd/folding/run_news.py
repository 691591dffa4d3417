"""What the log says of runs: each that begins, ends, or goes on after its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import structlog

from steplogd.core.state import PROCESSING

if TYPE_CHECKING:
    from steplogd.core.state import RunState

_log = structlog.get_logger()


class Standing(NamedTuple):
    """How far a run has come; it is unheard of before its first event."""

    phase: Literal["unheard", "open", "ended"]
    observations: int
    lost: int
    set_aside: int


def standing(state: RunState) -> Standing:
    """Return how far a run has come."""
    counts = state.position, state.lost + state.gaps, state.malformed
    if state.status != PROCESSING:
        return Standing("ended", *counts)
    return Standing("open" if state.start_ts else "unheard", *counts)


def tell(before: Standing, now: Standing, state: RunState) -> None:
    """Log what became of a run, if anything did: once it is committed, as it may be undone else."""
    if now.phase == before.phase:
        return
    if now.phase == "ended":
        _log.info(
            "run ended",
            run=state.run_id,
            status=state.status,
            observations=state.position,
            reason=state.message or None,
        )
    else:
        happened = "run begun" if before.phase == "unheard" else "run goes on"
        _log.info(happened, run=state.run_id, tag=state.tag or None)
