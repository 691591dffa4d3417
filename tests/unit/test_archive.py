"""A spool taken into the archive: when it may, what the store knows of it, and what comes late."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from steplog.home import owner_mark, run_owner, spool_path
from steplogd.clock import WallClock
from steplogd.retention.archivist import Grown
from steplogd.retention.writers import NotNow, locked, writers_of
from steplogd.store.archived import START, Archived
from steplogd.store.cursors import Cursors
from steplogd.store.database import Database, StoreError, StoreUnusable
from tests.lines import Scribe, append, line
from tests.shelf import PLACE, STEPS, Shelf, all_steps
from tests.stores import Store

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from steplogd.retention.archive import Place
    from steplogd.retention.writers import Writers
    from steplogd.store.archived import ArchivedSpool


def test_an_archived_spool_is_none_any_more(shelf: Shelf) -> None:
    """The next one of its name is folded from its start; what was folded is not folded again."""
    size = spool_path(shelf.home, "r").stat().st_size
    shelf.take()
    append(shelf.home, "r", Scribe("b").track(step=STEPS))

    assert shelf.fold() == all_steps(STEPS + 1)
    assert shelf.row() == (size, "resting")
    assert shelf.archive.path(PLACE).stat().st_size == size
    with shelf.database.reading() as connection:
        assert connection.execute("SELECT malformed, repeated FROM run").fetchall() == [(0, 0)]


def test_what_is_removed_was_made_durable(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the store's file itself: should its WAL be lost, too, nothing else has it."""
    shelf.take()
    found: list[tuple[int, str]] = []
    remove = shelf.archive.remove

    def look_and_remove(place: Place) -> None:
        copy = shutil.copy(shelf.home / "steplog.db", shelf.home / "copy.db")
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            sql = "SELECT count(*), (SELECT state FROM archived) FROM observation"
            found.extend(connection.execute(sql))
        remove(place)

    monkeypatch.setattr(shelf.archive, "remove", look_and_remove)
    shelf.remove()

    assert found == [(STEPS, "removed")]
    assert not shelf.archive.path(PLACE).exists()


def test_nothing_is_removed_while_the_store_cannot_be_made_durable(shelf: Shelf) -> None:
    """As while somebody reads what it was before; later it is."""
    with contextlib.closing(sqlite3.connect(shelf.home / "steplog.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM run").fetchone()
        shelf.take()
        with pytest.raises(NotNow, match="reads the store"):
            shelf.remove()
        meanwhile = shelf.row()[1], shelf.archive.path(PLACE).exists()
    shelf.remove()

    assert meanwhile == ("resting", True)
    assert shelf.row()[1] == "removed"


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE run SET status = 'PROCESSING', end_ts = NULL",
        "DELETE FROM document",
        "UPDATE run SET unknown = 1",
        "UPDATE run SET malformed = 1",
        "UPDATE run SET position = position + 1",
        "INSERT INTO backend VALUES ('b', 'memory', 0, NULL, '')",
    ],
)
def test_nothing_is_removed_of_a_run_that_is_not_everywhere(
    shelf: Shelf, sql: str, is_compressed: bool
) -> None:
    """Any more, as after late lines or in a new store: when it was archived, it was."""
    shelf.take()
    place = PLACE._replace(is_compressed=is_compressed)
    if is_compressed:
        shelf.finish("compress")
    with shelf.database.transaction() as connection:
        connection.execute(sql)
    with pytest.raises(NotNow, match="goes on, or a backend"):
        shelf.remove(is_compressed=is_compressed)

    assert shelf.archive.path(place).exists()
    assert shelf.row()[1] == ("compressed" if is_compressed else "resting")


@pytest.mark.parametrize("name", ["steplog.db", "steplog.db-wal"])
def test_nothing_is_removed_for_a_store_that_is_gone(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What it was told is seen by nobody any more; the spool is all that there is."""
    shelf.take()
    note = shelf.archived.note_removed

    def note_and_lose(run_no: int, spool: ArchivedSpool) -> bool:
        is_noted = note(run_no, spool)
        (shelf.home / name).unlink(missing_ok=True)
        return is_noted

    monkeypatch.setattr(shelf.archived, "note_removed", note_and_lose)
    with pytest.raises(StoreUnusable, match="deleted or replaced"):
        shelf.remove()

    assert shelf.archive.path(PLACE).exists()


@pytest.mark.parametrize("how", ["it is written to", "somebody opens it"])
def test_what_is_touched_while_it_is_compressed_stays_as_it_was(shelf: Shelf, how: str) -> None:
    """The line that came is folded first, and then it is compressed anew."""
    shelf.take()
    path = shelf.archive.path(PLACE)
    size = path.stat().st_size
    with path.open("ab", buffering=0) as late:
        if how == "it is written to":
            late.write(line("track", step=STEPS, values={"x": 1}))
            late.close()
        with pytest.raises(NotNow):
            shelf.archive.compress(PLACE, size, lambda: None)

    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("has_new_spool", [False, True])
def test_a_store_that_cannot_be_told_loses_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, has_new_spool: bool
) -> None:
    """The spool gets its name back; where that is taken, the run waits until the store is told."""

    def refuse(*_: object) -> None:
        if has_new_spool:
            append(shelf.home, "r", line("track", step=STEPS, values={"x": 1}))
        raise StoreError("full")

    with monkeypatch.context() as patch:
        patch.setattr(Archived, "archive", refuse)
        with pytest.raises(StoreError, match="full"):
            shelf.take()
    shelf.line.run(["r"])
    before = shelf.line.spools.sizes()
    shelf.archivist.tell_again()

    assert shelf.fold() == all_steps(STEPS + has_new_spool)
    assert list(before) == ["r"]
    assert shelf.row()[1:] == (("resting",) if has_new_spool else ())
    with shelf.database.reading() as connection:
        assert connection.execute("SELECT malformed FROM run").fetchall() == [(0,)]


def test_a_spool_that_is_not_folded_to_its_end_stays(shelf: Shelf) -> None:
    """Nor is one taken that is not what was folded."""
    (run,) = shelf.finished()
    append(shelf.home, "r", line("track", step=STEPS, values={"x": 1}))
    with pytest.raises(NotNow, match="more to be folded"):
        shelf.archivist.take(run)
    path = spool_path(shelf.home, "r")
    path.write_bytes(path.read_bytes()[:-5].replace(b"loss", b"lost"))
    with pytest.raises(NotNow, match="not what was folded"):
        shelf.archivist.take(run)

    assert path.exists()


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_folder_where_the_owner_is_marked_keeps_no_spool(shelf: Shelf, is_empty: bool) -> None:
    """Where several users share the home, anybody may make one; whose the run is, is told."""
    spool = spool_path(shelf.home, "r")
    spool.parent.chmod(0o1777)
    owner_mark(spool).mkdir()
    if not is_empty:
        (owner_mark(spool) / "file").touch()
    shelf.take()

    assert shelf.archive.is_taken(PLACE)
    assert run_owner(spool) == str(os.geteuid())
    assert len(list(spool.parent.iterdir())) == (1 if is_empty else 2)


def test_a_spool_that_is_written_to_until_it_is_locked_stays(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at without the lock is true no more."""

    def write_and_lock(fd: int) -> AbstractContextManager[None]:
        append(shelf.home, "r", line("track", step=STEPS, values={"x": 1}))
        return locked(fd)

    monkeypatch.setattr("steplogd.retention.archive.locked", write_and_lock)
    with pytest.raises(NotNow, match="just now"):
        shelf.take()

    assert not shelf.archive.is_taken(PLACE)


@pytest.mark.parametrize("then", ["it is folded", "a kill comes", "the store is told later"])
def test_what_a_writer_without_the_lock_wrote_last_is_folded_before_its_new_spool(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """Its numbers go on there: read later, those of the archived spool would be taken for old."""
    b = Scribe("b")
    late = [b.line("open"), b.line("join"), b.track(step=STEPS)]
    new = [b.track(step=STEPS + 1), b.line("leave")]

    def go_on_and_look(fd: int) -> Writers:
        with shelf.archive.path(PLACE).open("ab") as file:
            file.write(b"".join(late))
        append(shelf.home, "r", *new)
        return writers_of(fd)

    monkeypatch.setattr("steplogd.retention.archive.writers_of", go_on_and_look)
    if then == "the store is told later":
        with monkeypatch.context() as patch:
            patch.setattr(Archived, "archive", failing)
            with pytest.raises(StoreError):
                shelf.take()
        shelf.archivist.tell_again()
    else:
        shelf.take()
    is_at_rest = shelf.line.is_at_rest("r")
    if then == "a kill comes":
        shelf.start()

    assert shelf.fold() == all_steps(STEPS + 2)
    assert not is_at_rest
    assert shelf.row() == (shelf.archive.path(PLACE).stat().st_size, "resting")
    with shelf.database.reading() as connection:
        assert connection.execute("SELECT repeated, gaps FROM run").fetchall() == [(0, 0)]


def failing(*_: object) -> None:
    """Fail as a store that cannot be written."""
    raise StoreError("full")


def test_an_archived_spool_with_a_late_line_is_not_finished(shelf: Shelf) -> None:
    """It is folded on first; what is not even a line does not count."""
    shelf.take()
    ((run_no, _, spool),) = shelf.archived.in_state("resting", START, 1)
    with shelf.archive.path(PLACE).open("ab") as late:
        late.write(b'{"t":"tr')
    with pytest.raises(Grown):
        shelf.archivist.finish(run_no, PLACE, spool, "remove", 0.0, lambda: None)
    shelf.line.look_again("r", 1)

    assert shelf.fold() == all_steps()
    assert shelf.archived.checkpoint("r")[1:] == (0, b"")
    ((_, _, spool),) = shelf.archived.in_state("resting", START, 1)
    assert shelf.archivist.finish(run_no, PLACE, spool, "keep", 0.0, lambda: None) is None


def test_a_line_that_comes_while_it_is_asked_who_writes_is_folded_first(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody who then closes it, and whom the kernel does not name any more."""
    shelf.take()
    writers = shelf.archive.writers

    def write_and_look(place: Place) -> Writers:
        with shelf.archive.path(place).open("ab") as late:
            late.write(line("track", step=STEPS, values={"x": 1}))
        return writers(place)

    monkeypatch.setattr(shelf.archive, "writers", write_and_look)
    with pytest.raises(Grown):
        shelf.remove()
    shelf.line.look_again("r", 1)

    assert shelf.fold() == all_steps(STEPS + 1)


@pytest.mark.parametrize(
    ("kind", "hours", "is_kept"), [("ext4", 1, False), ("lustre", 1, True), ("lustre", 25, False)]
)
def test_on_a_network_file_system_a_spool_rests_for_a_day(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, kind: str, hours: int, is_kept: bool
) -> None:
    """Another machine may have it open, and the kernel of this one says that nobody has."""
    table = shelf.home / "table"
    table.write_text(f"1 0 0:1 / / rw - {kind} far:/home rw\n")
    monkeypatch.setattr("steplogd.mounts._TABLE", table)
    monkeypatch.setattr("steplogd.retention.archivist.REST_SECONDS", 0.0)
    shelf.take()
    ((run_no, _, spool),) = shelf.archived.in_state("resting", START, 1)
    now = shelf.archive.path(PLACE).stat().st_ctime + hours * 3600
    shelf.archivist.finish(run_no, PLACE, spool, "remove", now, lambda: None)

    assert shelf.archive.path(PLACE).exists() == is_kept


def test_a_run_is_everywhere_when_every_backend_has_acknowledged_all(shelf: Shelf) -> None:
    """Its observations, its own state, and dead letters that somebody wants to be sent again."""
    cursors = Cursors(shelf.database)
    seen = [shelf.finished()[0].is_everywhere]
    cursors.configure([("b", "memory")])
    seen.append(shelf.finished()[0].is_everywhere)
    cursors.acknowledge("b", 1, STEPS, {3: "refused"})
    seen.append(shelf.finished()[0].is_everywhere)
    cursors.settle("b", 1, 10)
    seen.append(shelf.finished()[0].is_everywhere)
    with shelf.database.transaction() as connection:
        connection.execute("UPDATE dead_letter SET is_due = 1")
    seen.append(shelf.finished()[0].is_everywhere)
    cursors.configure([])
    seen.append(shelf.finished()[0].is_everywhere)

    assert seen == [True, False, False, True, False, True]


def test_a_run_without_its_document_is_not_finished(shelf: Shelf) -> None:
    """It is what remains of a run for those who have no store."""
    with shelf.database.transaction() as connection:
        connection.execute("UPDATE document SET position = position - 1")

    assert [run.is_everywhere for run in shelf.finished()] == [False]


def test_finished_runs_are_found_by_their_index(shelf: Shelf) -> None:
    """However many there are: no round reads more than its page."""
    asked: list[str] = []
    with shelf.database.reading() as connection:
        connection.set_trace_callback(asked.append)
    shelf.finished()
    with shelf.database.reading() as connection:
        connection.set_trace_callback(None)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]

    assert plan[0] == "SEARCH run USING INDEX run_ended (end_ts>? AND end_ts<?)"
    assert not [step for step in plan if step.startswith("SCAN") and step != "SCAN backend"]


def test_a_store_without_a_word_of_archives_gets_it(tmp_path: Path) -> None:
    """It is of the same version, and what it holds stays."""
    old = Store(tmp_path)
    old.run("r")
    old.connection.close()
    database = Database(tmp_path / "steplog.db")
    with database.reading() as connection:
        found = connection.execute("SELECT run_id, spooled FROM run").fetchall()
    spools = Archived(database).in_state("resting", START, 10)
    database.close()

    assert (found, spools) == ([("r", 1)], [])


def test_a_clock_that_is_new_tells_nothing_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has just started may not know yet what time it is."""
    clock = WallClock(100.0, is_trusted_at_first=False)
    told = []
    for steady in (5.0, 104.0, 105.0):
        monkeypatch.setattr("steplogd.clock.time.time", lambda steady=steady: 1e9 + steady)
        told.append(clock.now(steady))

    assert [str(time) for time in told] == ["nan", "nan", "1000000105.0"]
