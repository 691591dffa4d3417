"""MLflow's own client inside a task: the MLflow run that the daemon feeds, active in the thread."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import ActiveRun

ANSWER_SECONDS: Final = 5.0
"""How long a server may take to say that it is there; MLflow itself would ask for four minutes."""

_RETRIES: Final = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_RUN_ID: Final = "MLFLOW_RUN_ID"
_log = logging.getLogger("steplog")


class Unreachable(Exception):
    """The MLflow server does not answer, or the package that asks it is missing."""


@contextlib.contextmanager
def client_context(counterpart: Mapping[str, str]) -> Iterator[ActiveRun]:
    """Make the run active in this thread for as long as the block lasts.

    MLflow's tracking URI is the run's meanwhile, in the whole process. The run is not ended by it:
    the daemon does that.

    Args:
        counterpart: `tracking_uri`, `run_id` and `experiment_id`, as the daemon's session has them.

    Raises:
        Unreachable: The server does not answer, or MLflow is not installed here.
        mlflow.exceptions.MlflowException: MLflow does not give the run.
    """
    try:
        import mlflow
    except ImportError as error:
        raise Unreachable(f"MLflow cannot be imported ({error}): pip install mlflow") from error
    uri = counterpart["tracking_uri"]
    if not _answers(uri):
        raise Unreachable(f"the MLflow server at {uri} does not answer")
    with _tracking_uri.used(mlflow, uri):
        run = _activate(mlflow, counterpart)
        try:
            yield run
        finally:
            _deactivate(mlflow, uri, run)


def without_credentials(uri: str) -> str:
    """Return a tracking URI without user and password: a task has its own, in its environment."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _activate(mlflow: Any, counterpart: Mapping[str, str]) -> ActiveRun:
    run_id = counterpart["run_id"]
    try:
        run: ActiveRun = mlflow.start_run(run_id=run_id, nested=True)
    except mlflow.exceptions.MlflowException:
        # The program has set another experiment, which MLflow takes for a contradiction.
        mlflow.set_experiment(experiment_id=counterpart["experiment_id"])
        run = mlflow.start_run(run_id=run_id, nested=True)
    return run


def _deactivate(mlflow: Any, uri: str, run: ActiveRun) -> None:
    """Take the run from the thread's active ones; never raises, nor waits for a dead server."""
    if mlflow.active_run() is None or mlflow.active_run().info.run_id != run.info.run_id:
        return  # the program has ended it by itself
    kept = {name: os.environ.get(name) for name in (_RUN_ID, _RETRIES)}
    if not _answers(uri):
        os.environ[_RETRIES] = "0"
    try:
        mlflow.end_run("RUNNING")  # it goes on; its end is the daemon's to say
    except Exception as error:  # noqa: BLE001  # the block has done its work
        _log.warning("MLflow did not take that the block is over: %s", error)
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _answers(uri: str) -> bool:
    """Tell whether a server answers; whatever it says, an error too."""
    if not uri.startswith(("http://", "https://")):
        return True
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


class _TrackingUri:
    """MLflow's tracking URI, one for the process: set by the first, set back by the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._former: str | None = None

    @contextlib.contextmanager
    def used(self, mlflow: Any, uri: str) -> Iterator[None]:
        """Set it for as long as the block lasts."""
        with self._lock:
            if self._users == 0:
                self._former = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
            self._users += 1
            mlflow.set_tracking_uri(uri)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    mlflow.set_tracking_uri(self._former)


_tracking_uri: Final = _TrackingUri()
