"""A backend that reaches a real MLflow server through a proxy, for tests; and what arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions
from tests.contract.trackers import expected_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.delivery.contract import Observation, RunInfo
    from tests.contract.trackers import MlflowStore
    from tests.torture.proxy import Proxy

TIMEOUT_SECONDS = "3"


def connect(proxy: Proxy, tmp_path: Path, **options: str) -> MlflowBackend:
    """Build a backend for the proxy."""
    return MlflowBackend(MlflowOptions(server_url=proxy.url, **options), tmp_path)


def active(store: MlflowStore, run: RunInfo) -> list[str]:
    """Return the ids of the MLflow runs that stand for a run."""
    runs = store.runs(run.run_id)
    return [one.info.run_id for one in runs if one.info.lifecycle_stage == "active"]


def arrived(store: MlflowStore, run: RunInfo, batch: list[Observation]) -> bool:
    """Tell whether MLflow has these numbers of a run, and no others."""
    numbers: dict[tuple[str, int], list[tuple[int, float | str]]] = {}
    (mlflow_id,) = active(store, run)
    for name in store.client.get_run(mlflow_id).data.metrics:
        for point in store.client.get_metric_history(mlflow_id, name):
            numbers[name, point.step] = [(point.timestamp, point.value)]
    return numbers == expected_numbers(batch)
