"""What the daemon's integration tests are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.archives import impatient_paths
from tests.contract.trackers import MlflowStore
from tests.guard import anyio_backend, loop_guard
from tests.mlflow_server import running

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["anyio_backend", "impatient_paths", "loop_guard"]


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowStore]:
    """Run a real `mlflow server` on this machine, with SQLite behind it."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder) as url:
        yield MlflowStore(folder, url)
