"""The calls that a task makes: track, and ask what was tracked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from steplog import losses, place
from steplog.place import here
from steplog.run import current_place, get_run_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

# Looked up here rather than at each call, which is a twentieth of it.
_own_place: Final = here.get


def track_this(step: int = 0, **values: Any) -> None:
    """Track values by name, at a step: one line in the spool of the current run.

        steplog.track_this(step=3, loss=0.2, accuracy=0.9)

    On return the line is in the file; a kill of the process loses nothing. It takes about what two
    to three bare writes of that line take, and never waits for a daemon or a tracker. Safe from any
    thread, after a fork, in a coroutine, in a signal handler. Starts a run when there is none,
    which ends with the process.

    Values may be numbers (NaN, infinities, integers of any size), booleans, text, None, lists and
    dicts of these, NumPy and PyTorch scalars and arrays, dataclasses, pydantic models (by alias),
    datetimes, paths and enums. What cannot be encoded costs this call's event alone: it is counted
    and warned of once, and nothing is raised unless `configure(strict=True)` asks for it.

    Args:
        step: Which step of the task, a whole number of 64 bits; in any order.
        values: What was observed, by key. The same key and step again: the later one wins.

    Raises:
        TrackingError: Only when asked for: the event was not recorded.
    """
    at = _own_place() or current_place()
    at.writer.track(at.task, step, values)


def track(values: Mapping[str, Any], step: int = 0) -> None:
    """Track values by any key, at a step; otherwise as `track_this`.

        steplog.track({"train/loss": 0.2}, step=3)

    Raises:
        TrackingError: Only when asked for: the event was not recorded.
    """
    at = _own_place() or current_place()
    place.track(at, values, step)


def get_run_log(run_id: str | None = None, *, attempt: int | None = None) -> dict[str, Any]:
    """Return the run log of a run, as the daemon last committed it.

    Without a run to be asked for it starts one, as `track_this` does.

    Args:
        run_id: The run; without one, the run that this call would track to.
        attempt: Of each task only this attempt, from 1, and what was tracked in it; tasks that have
            no such attempt are left out.

    Returns:
        The document that `steplog show --json` prints, with NaN and infinities as floats.

    Raises:
        InvalidName: The run id that was passed is none.
        RunNotFound: The daemon has folded no such run, or not yet.
        AttemptNotFound: No task of the run has this attempt, or not yet.
        StoreUnreadable: No daemon has ever folded anything here, or it is not for us to read.
        RuntimeError: There is no home: no variable names one, and the user has no home directory.
        TrackingError: Only when asked for: what starts the run was not recorded.
    """
    from steplog.home import default_home
    from steplog.run_log import read_run_log  # brings sqlite3, which tracking does not need

    return read_run_log(default_home(), run_id or get_run_id(), attempt)


def get_experiment_tracker_context(
    backend: str | None = None, *, timeout_seconds: float = 10.0
) -> AbstractContextManager[Any]:
    """Give the tracker's own client, at the run that the daemon feeds, for what only it can do.

        with steplog.get_experiment_tracker_context() as run:
            if run is not None:
                mlflow.sklearn.log_model(model, name="model")

    With MLflow, that MLflow run is active in the block, and the daemon still says when it ends;
    with W&B the block gets the run object. Without a backend, without a daemon, or when nothing is
    known of the run in time, the block gets None, and the log `steplog` says why where a backend
    was configured. Entering the block starts a run when there is none.

    Unlike all the rest of steplog it waits for a daemon and a tracker, and what is called in the
    block is the tracker's own: that may block and raise as it always does. Safe in any thread and
    process; MLflow's tracking URI is one for the whole process, and is set back when the last block
    is left.

    Args:
        backend: The name of a backend in the daemon's configuration; without one, the first that
            has a client.
        timeout_seconds: How long to wait at most until the daemon knows the run there.
    """
    from steplog.client import client_context  # brings sqlite3, which tracking does not need

    return client_context(backend, timeout_seconds)


def configure(*, strict: bool | None = None) -> None:
    """Change how steplog behaves in this process.

    Args:
        strict: Raise `TrackingError` for an event that cannot be recorded (True), count and warn
            (False), or go by the environment variable `STEPLOG_STRICT` (None).
    """
    losses.set_strict(strict)
