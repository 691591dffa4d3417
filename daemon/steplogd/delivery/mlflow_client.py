"""MLflow's own client inside a task: the MLflow run that the daemon feeds, active in the thread."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.terminal import sanitise
from steplogd.delivery.secrets import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import ActiveRun

ANSWER_SECONDS: Final = 5.0
"""How long a server may take to say that it is there; MLflow itself would ask for four minutes."""

_RUN_ID: Final = "MLFLOW_RUN_ID"
_EXPERIMENT_ID: Final = "MLFLOW_EXPERIMENT_ID"
_EXPERIMENT: Final = "_active_experiment_id"
_GOES_ON: Final = "RUNNING"
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
        mlflow = _mlflow()
    except ImportError as error:
        raise Unreachable(f"MLflow cannot be imported ({error}): pip install mlflow") from error
    uri = counterpart["tracking_uri"]
    if not _answers(uri):
        raise Unreachable(f"the MLflow server at {uri} does not answer")
    with _target:
        mlflow.set_tracking_uri(uri)
        run = _activate(mlflow, counterpart)
        try:
            yield run
        finally:
            _deactivate(mlflow, run)


def _mlflow() -> Any:
    """Return MLflow, whose own types say less than it does."""
    import mlflow

    return mlflow


def _activate(mlflow: Any, counterpart: Mapping[str, str]) -> ActiveRun:
    run_id = counterpart["run_id"]
    with _bounded:
        try:
            run: ActiveRun = mlflow.start_run(run_id=run_id, nested=True)
        except mlflow.exceptions.MlflowException:
            # Where the program has set another experiment, MLflow takes that for a contradiction.
            mlflow.set_experiment(experiment_id=counterpart["experiment_id"])
            run = mlflow.start_run(run_id=run_id, nested=True)
    return run


def _deactivate(mlflow: Any, run: ActiveRun) -> None:
    """Take the run from the thread's active ones; never raises, nor waits for a dead server."""
    active = mlflow.active_run()
    if active is None or active.info.run_id != run.info.run_id:
        return  # the program has ended it by itself
    users_run = os.environ.get(_RUN_ID)
    try:
        with _bounded:
            _end(mlflow, run.info.run_id)
    except Exception as error:  # noqa: BLE001  # the block has done its work
        said = sanitise(without_secrets(str(error)))
        _log.warning("MLflow did not take that the block is over: %s", said)
    finally:
        if users_run is not None:  # MLflow forgets it
            os.environ[_RUN_ID] = users_run


def _end(mlflow: Any, run_id: str) -> None:
    """End the block and not the run, whose end is the daemon's to say, or was said meanwhile."""
    client = mlflow.MlflowClient()
    try:
        info = client.get_run(run_id).info
    except Exception:
        mlflow.end_run(_GOES_ON)
        raise
    mlflow.end_run(info.status)
    if info.status != _GOES_ON:
        client.set_terminated(run_id, info.status, info.end_time)


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


class _Shared:
    """Something of the whole process that the first block sets, and the last one sets back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._begin()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._end()

    def _begin(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError


class _Bounded(_Shared):
    """MLflow's patience with a server, cut short while a block is entered or left.

    MLflow has it in the environment, for all threads: others find less of it for that moment.
    """

    _SETTINGS: Final = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": f"{ANSWER_SECONDS:.0f}",
    }

    def _begin(self) -> None:
        self._former = {name: os.environ.get(name) for name in self._SETTINGS}
        os.environ.update(self._SETTINGS)

    def _end(self) -> None:
        _set_back(self._former)


class _Target(_Shared):
    """Where MLflow's calls go: the tracking URI, and the experiment of runs made in the block."""

    def _begin(self) -> None:
        mlflow = _mlflow()
        self._uri = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        # MLflow tells nobody which experiment was set, and has no way to set none.
        self._experiment = getattr(mlflow.tracking.fluent, _EXPERIMENT, None)
        self._variables = {_EXPERIMENT_ID: os.environ.get(_EXPERIMENT_ID)}

    def _end(self) -> None:
        mlflow = _mlflow()
        mlflow.set_tracking_uri(self._uri)
        if hasattr(mlflow.tracking.fluent, _EXPERIMENT):
            setattr(mlflow.tracking.fluent, _EXPERIMENT, self._experiment)
        _set_back(self._variables)


def _set_back(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


_bounded: Final = _Bounded()
_target: Final = _Target()
