"""steplog: track experiments by appending lines to a local file; a daemon does the rest."""

from steplog.errors import (
    AttemptNotFound,
    InvalidName,
    RunNotFound,
    SteplogError,
    StoreUnreadable,
    TrackingError,
)
from steplog.run import Run, get_run_id, start_run
from steplog.task import task
from steplog.tracking import (
    configure,
    get_experiment_tracker_context,
    get_run_log,
    track,
    track_this,
)

__all__ = [
    "AttemptNotFound",
    "InvalidName",
    "Run",
    "RunNotFound",
    "SteplogError",
    "StoreUnreadable",
    "TrackingError",
    "configure",
    "get_experiment_tracker_context",
    "get_run_id",
    "get_run_log",
    "start_run",
    "task",
    "track",
    "track_this",
]
