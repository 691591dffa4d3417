"""What the log says of runs: each that begins, ends, or goes on after its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import structlog

from steplogd.core.state import PROCESSING

if TYPE_CHECKING:
    from steplogd.core.state import RunState

Standing = Literal["unheard", "open", "ended"]

_log = structlog.get_logger()


def standing(state: RunState) -> Standing:
    """Return how far a run has come; it is unheard of before its first event."""
    if state.status != PROCESSING:
        return "ended"
    return "open" if state.start_ts else "unheard"


def tell(before: Standing, state: RunState) -> None:
    """Log what became of a run, if anything did: once it is committed, as it may be undone else."""
    now = standing(state)
    if now == before:
        return
    if now == "ended":
        _log.info(
            "run ended",
            run=state.run_id,
            status=state.status,
            observations=state.position,
            reason=state.message or None,
        )
    else:
        happened = "run begun" if before == "unheard" else "run goes on"
        _log.info(happened, run=state.run_id, tag=state.tag or None)
