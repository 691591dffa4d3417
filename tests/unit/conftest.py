"""What the daemon's unit tests are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steplogd.store.database import Database
from tests.guard import anyio_backend, loop_guard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


__all__ = ["anyio_backend", "loop_guard"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Make a new store."""
    opened = Database(tmp_path / "steplog.db")
    yield opened
    opened.close()
