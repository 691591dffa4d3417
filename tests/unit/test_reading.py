"""Run logs are read of one moment, in little memory, and errors are sentences."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from steplog.errors import InvalidName, RunNotFound, StoreUnreadable
from steplog.run_log import read_run_log, write_run_log
from steplog.store_reader import NothingFolded
from tests.stores import START, Store

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_folded_says_what_to_start(tmp_path: Path) -> None:
    """Without a store, the error names the two commands that make one; nothing is created."""
    with pytest.raises(NothingFolded, match=r"`steplogd run`.*`steplogd drain`"):
        read_run_log(tmp_path, "r")

    assert list(tmp_path.iterdir()) == []


def test_a_store_that_the_daemon_is_just_making_is_nothing_folded(tmp_path: Path) -> None:
    """An empty file is a store that has no schema yet."""
    (tmp_path / "steplog.db").touch()

    with pytest.raises(NothingFolded):
        read_run_log(tmp_path, "r")


def test_a_store_of_another_version_is_refused(store: Store) -> None:
    """A schema of a later release is not guessed at."""
    store.connection.execute("PRAGMA user_version = 4")

    with pytest.raises(StoreUnreadable, match=r"version 4.*version 3"):
        read_run_log(store.home, "r")


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    """Neither a file of something else nor a folder raises an error of SQLite's own."""
    (tmp_path / "steplog.db").write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(StoreUnreadable, match="not a database"):
        read_run_log(tmp_path, "r")

    (tmp_path / "other" / "steplog.db").mkdir(parents=True)
    with pytest.raises(StoreUnreadable):
        read_run_log(tmp_path / "other", "r")


def test_an_unknown_run_is_not_found(store: Store) -> None:
    """A run that is not there, and an id that cannot be, are told apart."""
    with pytest.raises(RunNotFound, match="steplog ls"):
        read_run_log(store.home, "other")

    with pytest.raises(InvalidName):
        read_run_log(store.home, "../r")


def test_a_home_with_odd_characters_is_read(tmp_path: Path) -> None:
    """A path is not taken for a part of SQLite's URI."""
    home = tmp_path / "a ?mode=rwc#%41"
    home.mkdir()
    Store(home).run()

    assert read_run_log(home, "r")["run_id"] == "r"


def test_reading_writes_nothing(store: Store) -> None:
    """The connection that reads cannot change the store, whatever it is told."""
    from steplog.store_reader import snapshot

    with (
        pytest.raises(StoreUnreadable, match="readonly"),
        snapshot(store.home) as connection,
    ):
        connection.execute("DELETE FROM run")


def test_a_commit_during_the_writing_does_not_show(store: Store) -> None:
    """The document is as of one moment, also when the daemon goes on folding meanwhile."""
    store.connection.execute("BEGIN")
    for step in range(10_000):
        store.observe("loss", 0.5, step)
    store.connection.execute("COMMIT")
    pieces: list[str] = []

    def write(piece: str) -> None:
        pieces.append(piece)
        store.observe("loss", 0.5, 20_000 + len(pieces))

    write_run_log(store.home, "r", write)

    assert len(pieces) > 2
    document = json.loads("".join(pieces))
    assert len(document["steps"]["train"]["user_defined_metrics"]["loss"]) == 10_000


def test_a_given_connection_is_left_as_it_was(store: Store) -> None:
    """Neither a temporary table nor a transaction stays, also when `write` fails."""
    store.observe("loss", 0.5)
    store.connection.row_factory = lambda *_: {}

    def fail(piece: str) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_run_log(store.connection, "r", fail)

    assert not store.connection.in_transaction
    assert store.connection.execute("SELECT * FROM sqlite_temp_master").fetchall() == []
    document = read_run_log(store.connection, "r")
    assert document["steps"]["train"]["user_defined_metrics"] == {"loss": 0.5}


def test_writing_takes_no_more_memory_for_more_points(store: Store) -> None:
    """A run of 200,000 points is written within what one of 2,000 takes, a piece at a time."""
    few = _peak_bytes(store, 2_000)
    many = _peak_bytes(store, 200_000)

    assert many < few + 200_000


def _peak_bytes(store: Store, points: int) -> int:
    store.observe("loss", 0.5)
    (series,) = store.series.values()
    at = store.positions[1]
    store.positions[1] = at + points
    rows = ((at + i, series, i) for i in range(1, points + 1))
    store.connection.execute("BEGIN")
    store.connection.executemany(f"INSERT INTO observation VALUES (1, ?, ?, ?, {START}, 0.1)", rows)
    store.connection.execute("COMMIT")
    sizes: list[int] = [0]
    tracemalloc.start()
    try:
        write_run_log(
            store.home, "r", lambda piece: sizes.__setitem__(0, max(sizes[0], len(piece)))
        )
        return max(tracemalloc.get_traced_memory()[1], sizes[0])
    finally:
        tracemalloc.stop()
