"""What an embedded MLflow costs the garbage collector of the daemon."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from tests.contract.trackers import make_run

if TYPE_CHECKING:
    from tests.contract.trackers import MlflowStore

MANY = 100_000


def test_the_collector_looks_at_mlflow_no_more(mlflow_sqlite: MlflowStore) -> None:
    """Its modules stay for good; to go through them every few batches took a third of the time."""
    mlflow_sqlite.backend().open(make_run())

    assert gc.get_freeze_count() > MANY
