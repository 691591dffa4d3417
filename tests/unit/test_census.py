"""The census of a store: how far each backend is behind, beside the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steplogd.store.breakage import StoreError
from steplogd.store.census import BackendCensus, census
from tests.stores import START

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stores import Store


def test_what_is_behind_is_counted(store: Store) -> None:
    """Runs, observations, and the age of the first one after the cursor."""
    for number in range(5):
        store.observe("loss", float(number))
    store.connection.execute("UPDATE observation SET ts = ts + position")
    store.insert("cursor", backend="m", run_no=1, position=2, revision=0, replay=0)
    store.insert("dead_letter", backend="m", run_no=1, position=1, reason="no", ts=1, is_due=0)
    store.insert("backend", name="m", type="memory", place=0, failing_since=START, error="no")
    found = census(store.home / "steplog.db", {"m": [1], "other": [1]})

    assert found["m"] == BackendCensus(1, 3, START + 3, 1, START)
    assert found["other"] == BackendCensus(1, 5, START + 1, 0, None)


def test_a_run_that_is_delivered_is_not_behind(store: Store) -> None:
    """Though it is asked after, as its delivery was noted just now; nor is one that is not."""
    store.observe("loss", 0.5)
    store.run("other", 2)
    store.insert("cursor", backend="m", run_no=1, position=1, revision=0, replay=0)

    assert census(store.home / "steplog.db", {"m": [1, 2, 77]})["m"].runs == 0


def test_a_run_whose_state_is_owed_alone_is_behind(store: Store) -> None:
    """With no observation, and so of no age."""
    store.connection.execute("UPDATE run SET revision = 2")

    assert census(store.home / "steplog.db", {"m": [1]})["m"] == BackendCensus(1, 0, None, 0, None)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Whoever sets it aside makes the next one, and must find none."""
    with pytest.raises(StoreError):
        census(tmp_path / "steplog.db", {"m": []})

    assert list(tmp_path.iterdir()) == []
