"""The trackers that the contract tests run against, a real MLflow server among them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.contract.trackers import MemoryStore, MlflowStore
from tests.contract.wandb_store import WandbStore
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


@pytest.fixture(scope="session")
def wandb_offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbStore]:
    """Run W&B without a network."""
    with contextlib.closing(WandbStore(tmp_path_factory.mktemp("wandb"))) as store:
        yield store


@pytest.fixture
def wandb_store(wandb_offline: WandbStore) -> Iterator[WandbStore]:
    """W&B, as one test has it."""
    with wandb_offline.used() as store:
        yield store


@pytest.fixture(params=["memory", "mlflow_sqlite", "mlflow_server", "wandb_store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each tracker, in turn."""
    if request.param == "memory":
        return MemoryStore(tmp_path)
    store: Store = request.getfixturevalue(request.param)
    return store
