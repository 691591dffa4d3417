"""Archived spools and the store: what a kill or a power cut left apart comes together again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from steplog.home import spool_path
from steplogd.archive import Archive, Place
from steplogd.archived_spools import ArchivedSpools
from steplogd.archivist import Archivist, Grown
from steplogd.clock import WallClock
from steplogd.line import Line
from steplogd.store.archived import START, Archived, ArchivedSpool, FinishedRun
from steplogd.store.cursors import Cursors
from steplogd.store.database import Database, StoreError
from steplogd.store.documents import Documents
from steplogd.store.holding import take
from steplogd.store.run_logs import RunLogs
from steplogd.writers import NotNow
from tests.lines import Scribe, append, line
from tests.stores import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

END_OF_TIMES = 2**63 - 1
PLACE = Place("r", 1)
STEPS = 20


class Shelf:
    """A home with one run, `r`, that has ended and whose document is noted as written."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = Database(home / "steplog.db")
        self.archive, self.archived = Archive(home), Archived(self.database)
        a = Scribe()
        begin = a.line("open"), a.line("join")
        tracks = [a.track(step=step) for step in range(STEPS - 1)]
        visitor = line("track", step=STEPS - 1, values={"x": 1})  # would count twice, if read twice
        append(home, "r", *begin, *tracks, visitor, a.line("leave"))
        self.start()
        self.line.run(["r"])
        self.line.end_runs(0.0, 0.0)
        self.line.end_runs(10.0, 10.0)
        for run in Documents(self.database).outdated():
            Documents(self.database).written(run.run_no, run.position, run.revision)

    def start(self) -> None:
        """Let a daemon start: it looks at what lies there, and goes by that."""
        spools = ArchivedSpools(self.archive, self.archived)
        self.line = Line(self.home, RunLogs(self.database), 1.0, 100.0, spools)
        self.archivist = Archivist(self.home, self.archive, self.archived, self.line)

    def close(self) -> None:
        """Close the files that are read."""
        self.line.close()

    def lose_store(self) -> None:
        """Let a daemon start with a new store."""
        self.database.close()
        for path in self.home.glob("steplog.db*"):
            path.unlink()
        self.database = Database(self.home / "steplog.db")
        self.archived = Archived(self.database)
        self.start()

    def finished(self) -> list[FinishedRun]:
        """Return all runs that have ended and have a spool."""
        return self.archived.finished(START, END_OF_TIMES, 100)

    def take(self) -> None:
        """Archive the spool of the run."""
        (run,) = self.finished()
        self.archivist.take(run)

    def fold(self) -> list[int]:
        """Fold all that there is; return the steps that are in the run log, in their order."""
        while run_ids := self.line.unfolded(self.line.spools.sizes()):
            self.line.run(run_ids)
        with self.database.reading() as connection:
            sql = "SELECT step FROM observation ORDER BY position"
            return [step for (step,) in connection.execute(sql)]

    def doubt(self) -> int | None:
        """Return up to where a tracker may hold more of the run than its cursor says."""
        with self.database.reading() as connection:
            ((position,),) = connection.execute("SELECT position FROM doubt")
        return None if position is None else int(position)

    def row(self) -> tuple[Any, ...]:
        """Return what the store knows of the archived spool: how far it is folded, its state."""
        spool = self.archived.known(["r"]).get(("r", 1))
        return (spool.offset, spool.state) if spool else ()


@pytest.fixture
def shelf(home: Path) -> Iterator[Shelf]:
    """Make a home with a run that has ended."""
    home.mkdir()
    built = Shelf(home)
    yield built
    built.close()
    built.database.close()


def all_steps(count: int = STEPS) -> list[int]:
    return list(range(count))


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


def test_a_rename_that_the_store_was_not_told_of_is_told_at_the_start(shelf: Shelf) -> None:
    """By the mark; what was appended to the old file or a new one meanwhile is folded once."""
    shelf.archive.path(PLACE).parent.mkdir()
    spool_path(shelf.home, "r").rename(shelf.archive.path(PLACE))
    with shelf.archive.path(PLACE).open("ab") as late:
        late.write(line("track", step=STEPS, values={"x": 1}))
    append(shelf.home, "r", line("track", step=STEPS + 1, values={"x": 1}))
    shelf.start()

    assert shelf.fold() == all_steps(STEPS + 2)
    assert shelf.row() == (shelf.archive.path(PLACE).stat().st_size, "resting")


def test_a_rename_that_the_disk_has_forgotten_is_undone_in_the_store(shelf: Shelf) -> None:
    """As after a power cut; the spool is gone on with where it was."""
    shelf.take()
    shelf.archive.path(PLACE).rename(spool_path(shelf.home, "r"))
    append(shelf.home, "r", line("track", step=STEPS, values={"x": 1}))
    shelf.start()

    assert shelf.fold() == all_steps(STEPS + 1)
    assert shelf.row() == ()
    assert [run.run_id for run in shelf.finished()] == ["r"]


def test_a_spool_with_both_names_keeps_the_old_one(shelf: Shelf) -> None:
    """A kill came while it was put back."""
    (shelf.home / "archive").mkdir()
    os.link(spool_path(shelf.home, "r"), shelf.archive.path(PLACE))
    shelf.start()

    assert shelf.fold() == all_steps()
    assert list(shelf.archive.places()) == []


@pytest.mark.parametrize("is_store_lost", [False, True])
def test_one_that_is_there_compressed_and_as_it_was_is_folded_once(
    shelf: Shelf, is_store_lost: bool
) -> None:
    """A kill came before the original was deleted; and it is compressed once more."""
    shelf.take()
    path = shelf.archive.path(PLACE)
    content = path.read_bytes()
    shelf.archive.compress(PLACE, len(content), lambda: None)
    path.write_bytes(content)
    shelf.lose_store() if is_store_lost else shelf.start()

    assert shelf.fold() == all_steps()
    assert shelf.row() == (len(content), "resting")


def test_a_deletion_that_the_disk_has_forgotten_is_done_again(shelf: Shelf) -> None:
    """The store has it for removed, and there it lies."""
    shelf.take()
    content = shelf.archive.path(PLACE).read_bytes()
    ((run_no, _, spool),) = shelf.archived.in_state("resting", START, 1)
    shelf.archived.settle(run_no, ArchivedSpool(1, spool.offset, spool.mark, 0, "removed"))
    shelf.start()

    assert shelf.fold() == all_steps()
    assert shelf.row() == (len(content), "resting")


def test_commits_that_a_power_cut_took_are_told_again_of_a_compressed_one(shelf: Shelf) -> None:
    """By its content, as if it had just been renamed; nothing is folded twice."""
    (run,) = shelf.finished()
    shelf.take()
    size = shelf.archive.path(PLACE).stat().st_size
    shelf.archive.compress(PLACE, size, lambda: None)
    with shelf.database.transaction() as connection:
        connection.execute("DELETE FROM archived")
        connection.execute("UPDATE checkpoint SET offset = ?, mark = ?", (run.offset, run.mark))
    shelf.start()

    assert shelf.fold() == all_steps()
    assert shelf.row() == (size, "compressed")


def test_what_is_removed_was_made_durable(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is removed: else a power cut could take the last commits, and nothing is left."""
    shelf.take()
    ((run_no, _, spool),) = shelf.archived.in_state("resting", START, 1)
    monkeypatch.setattr("steplogd.archivist.REST_SECONDS", 0.0)
    synced: list[bool] = []
    sync = os.fsync

    def look_and_sync(fd: int) -> None:
        is_wal = Path(f"/proc/self/fd/{fd}").readlink().name == "steplog.db-wal"
        synced.append(is_wal and shelf.archive.path(PLACE).exists())
        sync(fd)

    monkeypatch.setattr(os, "fsync", look_and_sync)
    shelf.archivist.finish(run_no, PLACE, spool, "remove", 0.0, lambda: None)

    assert synced == [True]
    assert shelf.row()[1] == "removed"


def test_what_somebody_has_taken_away_is_noted_as_removed(shelf: Shelf) -> None:
    """And the run goes on."""
    shelf.take()
    shelf.archive.path(PLACE).unlink()
    shelf.start()

    assert shelf.fold() == all_steps()
    assert shelf.row()[1] == "removed"


@pytest.mark.parametrize("is_compressed", [False, True])
def test_folding_again_goes_on_where_it_was(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, is_compressed: bool
) -> None:
    """Of a spool of many chunks, after a restart too; trackers are doubted till the end."""
    shelf.take()
    if is_compressed:
        size = shelf.archive.path(PLACE).stat().st_size
        shelf.archive.compress(PLACE, size, lambda: None)
    for module in ("intake.tail", "compression"):
        monkeypatch.setattr(f"steplogd.{module}.CHUNK_BYTES", 256)
    shelf.lose_store()
    take(shelf.database, shelf.archive.sizes)
    for _ in range(3):
        shelf.line.run(["r"])
    doubts = [shelf.doubt()]
    ended = shelf.line.end_runs(0.0, 0.0) | shelf.line.end_runs(10.0, 0.0)
    shelf.close()
    shelf.start()
    steps = shelf.fold()
    doubts.append(shelf.doubt())

    assert steps == all_steps()
    assert (doubts, ended) == ([None, STEPS], set())
    assert shelf.line.end_runs(0.0, 0.0) == set()
    assert shelf.line.end_runs(10.0, 0.0) == {1}


def test_one_that_is_compressed_before_it_is_read_is_read_all_the_same(shelf: Shelf) -> None:
    """By the last thread of a service that had just set the store aside."""
    shelf.take()
    shelf.lose_store()
    shelf.archive.compress(PLACE, shelf.archive.path(PLACE).stat().st_size, lambda: None)

    assert shelf.fold() == all_steps()
    assert shelf.row()[1] == "compressed"


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


def test_a_damaged_archived_spool_costs_itself_alone(shelf: Shelf) -> None:
    """What can be read of it is folded, and what comes after it."""
    shelf.take()
    size = shelf.archive.path(PLACE).stat().st_size
    shelf.archive.compress(PLACE, size, lambda: None)
    compressed = shelf.archive.path(PLACE._replace(is_compressed=True))
    compressed.write_bytes(b"nothing that anybody could read")
    append(shelf.home, "r", line("track", step=7, values={"x": 1}))
    shelf.lose_store()

    assert shelf.fold() == [7]


def test_unfinished_files_of_a_kill_are_removed(shelf: Shelf) -> None:
    """Nobody else would, and they take room; what is none of ours stays."""
    (shelf.home / "archive").mkdir()
    for name in (".r.1.jsonl.gz.tmp", "notes.txt", "r.jsonl", "r.0.jsonl"):
        (shelf.home / "archive" / name).touch()
    shelf.start()

    names = sorted(path.name for path in (shelf.home / "archive").iterdir())
    assert names == ["notes.txt", "r.0.jsonl", "r.jsonl"]


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
