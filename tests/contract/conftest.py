"""The trackers that the contract tests run against, a real MLflow server among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.trackers import MemoryStore, MlflowStore
from tests.mlflow_server import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.trackers import Store


@pytest.fixture(scope="session")
def mlflow_sqlite(tmp_path_factory: pytest.TempPathFactory) -> MlflowStore:
    """Embed MLflow, on an SQLite database."""
    return MlflowStore(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowStore]:
    """Run a real `mlflow server` on this machine, with SQLite behind it."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder) as url:
        yield MlflowStore(folder, url)


@pytest.fixture(params=["mlflow_sqlite", "mlflow_server"])
def mlflow_store(request: pytest.FixtureRequest) -> MlflowStore:
    """Each way to reach MLflow, in turn."""
    store: MlflowStore = request.getfixturevalue(request.param)
    return store


@pytest.fixture(params=["memory", "mlflow_sqlite", "mlflow_server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each tracker, in turn."""
    if request.param == "memory":
        return MemoryStore(tmp_path)
    store: MlflowStore = request.getfixturevalue(request.param)
    return store
