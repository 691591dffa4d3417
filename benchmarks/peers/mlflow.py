"""MLflow: `log_metric`, and its asynchronous logging; into SQLite, or through a server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.peers.values import LOSS, TEN

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.values import Tracker

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


def begin(folder: Path, setting: str) -> Tracker:
    """Start a run."""
    mlflow = _at_store(folder)
    run = mlflow.start_run()
    (folder / "run_id").write_text(run.info.run_id, "utf-8")
    return _Tracker(mlflow, is_async=setting == "async")


class _Tracker:
    def __init__(self, mlflow: Any, is_async: bool) -> None:
        self._mlflow = mlflow
        self._is_async = is_async
        self._synchronous = not is_async

    def one(self, step: int) -> None:
        self._mlflow.log_metric("loss", LOSS, step=step, synchronous=self._synchronous)

    def ten(self, step: int) -> None:
        self._mlflow.log_metrics(TEN, step=step, synchronous=self._synchronous)

    def finish(self) -> None:
        if self._is_async:
            self._mlflow.flush_async_logging()
        self._mlflow.end_run()


def count(folder: Path, _: str) -> int:
    """Ask the client for the history of the metric."""
    run_id = (folder / "run_id").read_text("utf-8")
    return len(_at_store(folder).MlflowClient().get_metric_history(run_id, "loss"))


def _at_store(folder: Path) -> Any:
    import mlflow

    url = os.environ.get("BENCH_SERVER") or f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(url)
    return mlflow
