"""What commands say of a run as a whole, as text and for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steplog.times import show_duration, show_time

if TYPE_CHECKING:
    from steplog.store_reader import RunRow


def status_text(run: RunRow) -> str:
    """Return the status, and whether the run was killed."""
    return f"{run.status} (killed)" if run.killed else run.status


def duration_text(run: RunRow) -> str | None:
    """Return how long the run took; None while it goes on."""
    return None if run.end_ts is None else show_duration(run.start_ts, run.end_ts)


def run_fields(run: RunRow) -> dict[str, Any]:
    """Return the run without its parameters, as a JSON object."""
    return {
        "run_id": run.run_id,
        "status": run.status,
        "killed": run.killed,
        "message": run.message,
        "tag": run.tag,
        "start_time": show_time(run.start_ts),
        "end_time": None if run.end_ts is None else show_time(run.end_ts),
        "duration": duration_text(run),
        "observations": run.observations,
    }
