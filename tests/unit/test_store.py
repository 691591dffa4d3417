"""The SQLite file: what is committed is what is loaded, all of it or nothing."""

from __future__ import annotations

import itertools
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from steplogd.core.fold import Fold
from steplogd.core.state import RunState
from steplogd.store.cursors import Cursors
from steplogd.store.database import SCHEMA_VERSION, Database, StoreError, StoreUnusable
from steplogd.store.run_logs import ROWS_A_STATEMENT, FoldedRun, RunLogs
from tests.lines import Scribe, fold, line

if TYPE_CHECKING:
    from pathlib import Path


def commit(database: Database, folding: Fold, offset: int = 0) -> int:
    """Commit a fold; return the run's number."""
    run = FoldedRun(0, folding.state, offset)
    RunLogs(database).commit([(run, folding.take_changes())])
    return run.run_no


def read(database: Database, sql: str) -> list[Any]:
    """Return the rows of a query."""
    with database.reading() as connection:
        return connection.execute(sql).fetchall()


def eventful() -> Fold:
    """Fold some of everything."""
    a, b, child = Scribe("a"), Scribe("b"), Scribe("c")
    return fold(
        a.line("open"),
        a.line("join", tag="täg", parameters={"lr": 0.1, "big": 2**70}, config={"command": ["x"]}),
        child.line("open", worker=True),
        child.line("join"),
        a.line("start", task=["outer", "inner"], parameters={"epochs": 3}),
        a.track(step=-(2**63), loss=0.5, text="ü\0", none=None, nested={"a": [1, {}]}),
        child.track(step=2**63 - 1, big=2**70, yes=True, nan={"$float": "NaN"}),
        b.line("open", of="a"),
        b.track(loss=1),
        a.line("end", task=["outer", "inner"], status="FAIL", message="why"),
        a.line("start", task=["outer", "inner"]),
        line("track", values={"x": 1}),
        line("zzz"),
        line("lost", count=3),
        line("code", code_identifier="abc"),
        line("catalog", name="model"),
        b"torn\n",
    )


def test_what_a_backend_is_owed_of_some_runs_is_counted(database: Database) -> None:
    """No other run is asked for, and other backends do not count."""
    cursors, numbers = Cursors(database), []
    for run_id in ("a", "b", "c"):
        folding = Fold(RunState(run_id))
        fold(*[line("track", values={"x": 1})] * 5, into=folding)
        numbers.append(commit(database, folding))
    cursors.acknowledge("x", numbers[0], 3)
    cursors.acknowledge("y", numbers[1], 5)

    assert cursors.observations_behind("x", numbers[:2]) == 2 + 5
    assert cursors.observations_behind("y", numbers[:2]) == 5 + 0
    assert cursors.observations_behind("x", []) == 0


def test_a_run_is_loaded_as_it_was_committed(database: Database) -> None:
    """All that the next event may depend on."""
    folding = eventful()

    run_no = commit(database, folding, offset=77)
    loaded = RunLogs(database).load("r")

    assert loaded == FoldedRun(run_no, folding.state, 77)
    assert RunLogs(database).checkpoints() == {"r": (77, b"")}


def test_checkpoints_come_as_the_runs_lie_in_the_store(database: Database) -> None:
    """In the order of their numbers: by their ids, each would be a jump, and a page to read."""
    for run_id in ("c", "a", "b"):
        commit(database, Fold(RunState(run_id)), offset=7)

    assert list(RunLogs(database).checkpoints()) == ["c", "a", "b"]


def test_a_run_is_loaded_as_it_was_committed_after_its_end(database: Database) -> None:
    """Though somebody vanished, and somebody never came out of a task."""
    folding = eventful()
    folding.end_run()

    commit(database, folding)

    assert RunLogs(database).load("r").state == folding.state
    assert RunLogs(database).open_runs() == []


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "", "ü" * 500])
def test_any_text_can_be_a_name(database: Database, name: str) -> None:
    """Of a writer, a task, a key: lone surrogates too."""
    folding = fold(line("track", w=name, n=0, task=[name], values={name: name}))
    commit(database, folding)

    loaded = RunLogs(database).load("r").state

    assert loaded == folding.state


def test_an_unknown_run_is_new(database: Database) -> None:
    """It gets its number with its first commit."""
    loaded = RunLogs(database).load("new")

    assert (loaded.run_no, loaded.offset, loaded.state.position) == (0, 0, 0)


def test_a_commit_is_all_or_nothing(database: Database) -> None:
    """One bad row undoes the other run and the checkpoints as well."""
    good, bad = fold(line("track", values={"x": 1})), fold(line("track", values={"x": 1}))
    bad.state.run_id = "bad"
    changes = bad.take_changes()
    changes.observations.append(changes.observations[0])
    runs = RunLogs(database)

    with pytest.raises(StoreError, match="UNIQUE"):
        runs.commit(
            [
                (FoldedRun(0, good.state, 1), good.take_changes()),
                (FoldedRun(0, bad.state, 1), changes),
            ]
        )

    assert [
        read(database, f"SELECT * FROM {table}") for table in ("run", "checkpoint", "series")
    ] == [
        [],
        [],
        [],
    ]


@pytest.mark.parametrize("more", [-1, 0, 1, ROWS_A_STATEMENT + 1])
def test_every_observation_is_written_as_it_was_folded(database: Database, more: int) -> None:
    """Those that fill a statement, and those that are left over; an int is no float."""
    kinds = (0.1, 7, 7.0, -(2**63), float("inf"), float("nan"), "text", "1", None, True, [2**70])
    values = list(itertools.islice(itertools.cycle(kinds), ROWS_A_STATEMENT + more))
    one, other = (fold(*(line("track", values={"x": value}) for value in values)) for _ in "12")
    other.state.run_id = "other"
    changes = [one.take_changes(), other.take_changes()]

    RunLogs(database).commit(
        (FoldedRun(0, folding.state, 1), change)
        for folding, change in zip((one, other), changes, strict=True)
    )

    expected = [(no, *row) for no, change in enumerate(changes, 1) for row in change.observations]
    found = read(database, "SELECT * FROM observation ORDER BY run_no, position")
    assert list(map(repr, found)) == list(map(repr, expected))


def test_a_second_commit_changes_only_what_changed(database: Database) -> None:
    """Observations are added, the rest is as of now."""
    a = Scribe()
    folding = fold(a.line("join"), a.track(loss=0.5))
    run = FoldedRun(0, folding.state, 10)
    RunLogs(database).commit([(run, folding.take_changes())])
    fold(a.track(loss=0.25), a.line("leave"), into=folding)
    run.offset = 20

    RunLogs(database).commit([(run, folding.take_changes())])

    assert read(database, "SELECT position, value FROM observation") == [(1, 0.5), (2, 0.25)]
    assert read(database, "SELECT offset FROM checkpoint") == [(20,)]
    assert RunLogs(database).load("r").state == folding.state


def test_a_long_torn_line_is_kept_as_an_excerpt(database: Database) -> None:
    """The spool has it all."""
    commit(database, fold(b"x" * 10_000 + b"\n"))

    assert read(database, "SELECT offset, size, length(excerpt) FROM set_aside") == [
        (0, 10_000, 4096)
    ]


def test_a_store_is_its_owners_alone(tmp_path: Path) -> None:
    """What tasks track is nobody else's to read."""
    Database(tmp_path / "home" / "steplog.db").close()

    assert (tmp_path / "home" / "steplog.db").stat().st_mode & 0o777 == 0o600


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    """The text names both, and what to do; nothing is changed."""
    path = tmp_path / "steplog.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StoreUnusable, match=f"version 99.*version {SCHEMA_VERSION}"):
        Database(path)


@pytest.mark.parametrize("garbage", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_garbage_is_refused(tmp_path: Path, garbage: bytes) -> None:
    """And stays as it is."""
    path = tmp_path / "steplog.db"
    path.write_bytes(garbage)

    with pytest.raises(StoreUnusable, match="not a database"):
        Database(path)

    assert path.read_bytes() == garbage


def test_a_store_that_is_locked_may_be_used_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not be moved away for that."""
    monkeypatch.setattr("steplogd.store.database._BUSY_SECONDS", 0.01)
    path = tmp_path / "steplog.db"
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked") as caught:
            Database(path)
        other.execute("COMMIT")
    other.close()

    assert not isinstance(caught.value, StoreUnusable)
    Database(path).close()


@pytest.mark.parametrize("instead", [None, b""])
def test_a_store_that_was_deleted_or_replaced_takes_no_more(
    database: Database, instead: bytes | None
) -> None:
    """Nobody would ever see what is written there."""
    database.path.unlink()
    if instead is not None:
        database.path.write_bytes(instead)

    with pytest.raises(StoreUnusable, match="deleted or replaced"):
        commit(database, eventful())


def test_a_failed_transaction_leaves_the_store_usable(database: Database) -> None:
    """Also when the block itself raised."""
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:  # noqa: PT012
        connection.execute("INSERT INTO backend VALUES ('a', 'memory', 0, NULL, '')")
        raise ZeroDivisionError

    Cursors(database).configure([("b", "memory")])

    assert read(database, "SELECT name FROM backend") == [("b",)]


def test_a_new_backend_owes_every_run_from_its_start(database: Database) -> None:
    """A backend is a cursor."""
    run_no = commit(database, fold(Scribe().track(loss=0.5), Scribe("b").track(loss=0.25)))
    cursors = Cursors(database)

    pending = cursors.pending("x", run_no, 100, 10**6)

    assert cursors.behind("x") == [run_no]
    assert [(row[0], row[1], row[3], row[6]) for row in pending.rows] == [
        (1, ("train",), "loss", 0.5),
        (2, ("train",), "loss", 0.25),
    ]
    assert not pending.is_settled
    assert cursors.backlog("x").observations == 2


def test_a_cursor_moves_for_one_backend_alone(database: Database) -> None:
    """And never back."""
    run_no = commit(database, fold(*[Scribe(w).track() for w in "abc"]))
    cursors = Cursors(database)

    cursors.acknowledge("x", run_no, 2)
    cursors.acknowledge("x", run_no, 1)

    assert [cursors.backlog(name).observations for name in "xy"] == [1, 3]
    assert [row[0] for row in cursors.pending("x", run_no, 100, 10**6).rows] == [3]


def test_a_run_is_behind_until_its_state_is_settled(database: Database) -> None:
    """And again when that changes."""
    folding = fold(Scribe().track())
    run_no = commit(database, folding)
    cursors = Cursors(database)
    cursors.acknowledge("x", run_no, 1)
    behind = [cursors.behind("x")]

    cursors.settle("x", run_no, folding.state.revision)
    behind.append(cursors.behind("x"))
    folding.end_run()
    RunLogs(database).commit([(FoldedRun(run_no, folding.state, 0), folding.take_changes())])

    assert [*behind, cursors.behind("x")] == [[run_no], [], [run_no]]


def test_a_run_without_any_event_is_owed_to_nobody(database: Database) -> None:
    """Its spool held garbage alone: there is nothing that a tracker could be told."""
    commit(database, fold(b"garbage\n"))

    assert Cursors(database).behind("x") == []
    assert Cursors(database).backlog("x").runs == 0


def test_what_is_owed_is_what_was_there(database: Database) -> None:
    """A drain does not wait for what comes later."""
    a = Scribe()
    folding = fold(a.track())
    run_no = commit(database, folding)
    cursors = Cursors(database)
    owed = cursors.owed("x")
    cursors.acknowledge("x", run_no, 1)
    first = cursors.still_owed("x", owed)

    cursors.settle("x", run_no, folding.state.revision)
    fold(a.track(), into=folding)
    RunLogs(database).commit([(FoldedRun(run_no, folding.state, 0), folding.take_changes())])

    assert (owed, first) == ({run_no: (1, 1)}, {run_no: (1, 1)})
    assert cursors.still_owed("x", owed) == {}
    assert cursors.behind("x") == [run_no]


def test_a_batch_is_no_larger_than_asked_for(database: Database) -> None:
    """By count and by size; one observation is always there."""
    a = Scribe()
    run_no = commit(database, fold(*[a.track(text="x" * 1000) for _ in range(5)]))
    cursors = Cursors(database)

    counts = [
        len(cursors.pending("b", run_no, *limits).rows)
        for limits in ((3, 10**6), (5, 2500), (5, 1))
    ]

    assert counts == [3, 2, 1]


def test_dead_letters_go_with_the_cursor(database: Database) -> None:
    """Reason and place are kept; the observation is in the run log."""
    run_no = commit(database, fold(Scribe().track()))
    cursors = Cursors(database)

    cursors.acknowledge("x", run_no, 1, {1: "bad \ud800 name"})

    assert read(database, "SELECT backend, position, reason FROM dead_letter") == [
        ("x", 1, "bad ? name")
    ]
    assert cursors.backlog("x").dead_letters == 1
    assert cursors.backlog("x").observations == 0


def test_a_refused_state_is_a_dead_letter_until_one_is_taken(database: Database) -> None:
    """It stands at position 0."""
    run_no = commit(database, fold(Scribe().track()))
    cursors = Cursors(database)
    cursors.settle("x", run_no, 1, "no such experiment")
    refused = read(database, "SELECT position, reason FROM dead_letter")

    cursors.settle("x", run_no, 2)

    assert refused == [(0, "no such experiment")]
    assert read(database, "SELECT * FROM dead_letter") == []


def test_since_when_a_backend_fails_is_kept_while_it_fails(database: Database) -> None:
    """And forgotten when it answers."""
    cursors = Cursors(database)
    cursors.configure([("x", "memory")])
    cursors.note_health("x", "first")
    first = cursors.backlog("x")

    cursors.note_health("x", "second")
    second = cursors.backlog("x")
    cursors.note_health("x", "")
    last = cursors.backlog("x")

    assert first.failing_since == second.failing_since is not None
    assert (first.error, second.error) == ("first", "second")
    assert (last.failing_since, last.error) == (None, "")
