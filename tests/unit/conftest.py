"""What the daemon's unit tests are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from steplog.home import spool_folder
from steplogd.store.database import Database
from tests.bench import Bench
from tests.guard import anyio_backend, loop_guard
from tests.repositories import make_repository
from tests.route import Route
from tests.shelf import Shelf
from tests.stores import START, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


__all__ = ["anyio_backend", "loop_guard"]


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Let no test log to the stream that another one had, and that is closed by now."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Make a new store."""
    opened = Database(tmp_path / "steplog.db")
    yield opened
    opened.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Build a line over an empty home."""
    spool_folder(tmp_path).mkdir()
    built = Bench(tmp_path)
    yield built
    built.database.close()


@pytest.fixture
def route(database: Database, tmp_path: Path) -> Route:
    """Build a store, a tracker in memory, and the courier between them."""
    return Route(database, tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a git repository of a few files, all committed."""
    return make_repository(tmp_path / "repository")


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """Make a store of which all is written by hand."""
    return Store(tmp_path)


@pytest.fixture
def store(empty: Store) -> Store:
    """Make one with a run, `r`, whose one task has one attempt."""
    empty.run()
    empty.task("train")
    empty.attempt()
    return empty


@pytest.fixture
def folded(home: Path) -> Iterator[Store]:
    """Make one with a run, `done`, that has one task with two attempts and two series."""
    home.mkdir()
    filled = Store(home)
    filled.run("done", tag="nightly", end_ts=START + 3_723_000_000)
    filled.task("train")
    filled.attempt()
    filled.attempt(number=2)
    filled.observe("loss", 0.5, 1)
    filled.observe("loss", 0.25, 2)
    filled.observe("note", "hot\x1b[31m")
    yield filled
    filled.connection.close()


@pytest.fixture
def shelf(home: Path) -> Iterator[Shelf]:
    """Make a home with a run that has ended."""
    home.mkdir()
    built = Shelf(home)
    yield built
    built.close()
    built.database.close()
