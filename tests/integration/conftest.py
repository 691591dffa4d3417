"""What the daemon's integration tests are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.archives import impatient_paths
from tests.behind_proxy import TIMEOUT_SECONDS
from tests.contract.trackers import MlflowStore
from tests.guard import anyio_backend, loop_guard
from tests.mlflow_server import running
from tests.torture.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["anyio_backend", "impatient_paths", "loop_guard"]


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowStore]:
    """Run a real `mlflow server` on this machine, with SQLite behind it."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder) as url:
        yield MlflowStore(folder, url)


@pytest.fixture
def proxy(mlflow_server: MlflowStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Stand between us and a real server; nobody waits long for an answer."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", TIMEOUT_SECONDS)
    monkeypatch.setattr("steplogd.delivery.mlflow_transport.PATIENCE", 1)
    with Proxy(mlflow_server.url) as proxy:
        yield proxy
