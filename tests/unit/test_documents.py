"""`runs/<run_id>.json`: whole, atomic, and written when a run has ended."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from steplogd.documents import DocumentWriter
from steplogd.home_disk import HomeDisk
from steplogd.store.database import StoreUnusable
from steplogd.store.documents import Documents
from steplogd.store.run_logs import FoldedRun, RunLogs
from tests.lines import Scribe, fold

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.core.fold import Fold
    from steplogd.store.database import Database


class Shelf:
    """A store with runs, and the writer of their documents."""

    def __init__(self, database: Database, home: Path) -> None:
        self.folder = home / "runs"
        self.home = home
        self._database = database
        self._documents = Documents(database)
        self.writer = self.writer_on(HomeDisk(home, 0))
        self._run_logs = RunLogs(database)

    def writer_on(self, disk: HomeDisk) -> DocumentWriter:
        """Return a writer to which the home lies on this disk."""
        return DocumentWriter(self.home, self._documents, disk)

    def commit(self, folding: Fold, run_id: str = "r", run_no: int = 0) -> int:
        """Commit a fold under a name; return the run's number."""
        folding.state.run_id = run_id
        run = FoldedRun(run_no, folding.state, 0)
        self._run_logs.commit([(run, folding.take_changes())])
        return run.run_no

    def forget(self) -> None:
        """Let the store be one that has written no document."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM document")

    def outdated(self) -> int:
        """Return of how many runs the store knows that they want a document."""
        return len(self._documents.outdated())

    def metrics(self, run_id: str = "r") -> object:
        """Return what a run's document says of its task."""
        document = json.loads((self.folder / f"{run_id}.json").read_text())
        return document["steps"]["train"]["user_defined_metrics"]


@pytest.fixture
def shelf(database: Database, tmp_path: Path) -> Shelf:
    """Build all of it."""
    return Shelf(database, tmp_path)


def finished(**values: Any) -> Fold:
    """Return a run that ended."""
    folding = fold(Scribe().track(**values))
    folding.end_run()
    return folding


def test_a_run_that_ended_has_a_document(shelf: Shelf) -> None:
    """And one that goes on has none."""
    shelf.commit(finished(loss=0.5), "ended")
    shelf.commit(fold(Scribe().track()), "open")

    unwritten = shelf.writer.write_outdated()

    assert unwritten == {}
    assert shelf.metrics("ended") == {"loss": 0.5}
    assert [path.name for path in shelf.folder.iterdir()] == ["ended.json"]


def test_a_document_is_written_again_only_when_the_run_changed(shelf: Shelf) -> None:
    """A visitor's line after the end is such a change."""
    folding = finished(loss=0.5)
    run_no = shelf.commit(folding)
    shelf.writer.write_outdated()
    path = shelf.folder / "r.json"
    first = path.stat().st_ino
    shelf.writer.write_outdated()
    second = path.stat().st_ino
    fold(Scribe("late").track(loss=0.25), into=folding)
    shelf.commit(folding, run_no=run_no)

    shelf.writer.write_outdated()

    assert first == second
    assert shelf.metrics() == {"loss": 0.25}


def test_names_of_documents_are_on_disk(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each before the store has it as written: a power cut would take it, and for good."""
    for run_id in ("a", "b"):
        shelf.commit(finished(loss=0.5), run_id)
    synced, fsync = list[tuple[list[str], int]](), os.fsync

    def note(fd: int) -> None:
        fsync(fd)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            synced.append((sorted(os.listdir(fd)), shelf.outdated()))

    monkeypatch.setattr(os, "fsync", note)
    shelf.writer.write_outdated()

    assert synced == [(["a.json"], 2), (["a.json", "b.json"], 1)]


def test_one_document_that_cannot_be_written_holds_up_no_other(shelf: Shelf) -> None:
    """It is told, and tried again."""
    for run_id in ("a", "bad", "z"):
        shelf.commit(finished(loss=0.5), run_id)
    (shelf.folder / "bad.json").mkdir(parents=True)
    unwritten = shelf.writer.write_outdated()

    (shelf.folder / "bad.json").rmdir()
    again = shelf.writer.write_outdated()

    assert list(unwritten) == ["bad"]
    assert "IsADirectoryError" in unwritten["bad"]
    assert again == {}
    assert sorted(path.name for path in shelf.folder.iterdir()) == ["a.json", "bad.json", "z.json"]


def test_an_unfinished_document_is_nowhere(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one stays whole while the disk is full."""

    def write_run_log(_: object, __: object, write: object) -> None:
        write("{")  # type: ignore[operator]
        raise OSError(28, "No space left on device")

    folding = finished(loss=0.5)
    run_no = shelf.commit(folding)
    shelf.writer.write_outdated()
    fold(Scribe("late").track(loss=0.25), into=folding)
    shelf.commit(folding, run_no=run_no)
    monkeypatch.setattr("steplogd.documents.write_run_log", write_run_log)

    unwritten = shelf.writer.write_outdated()

    assert list(unwritten) == ["r"]
    assert shelf.metrics() == {"loss": 0.5}
    assert [path.name for path in shelf.folder.iterdir()] == ["r.json"]


def test_a_document_of_another_store_is_kept_if_it_says_anything_else(shelf: Shelf) -> None:
    """Though it is the younger one: a part that came before may have been removed by then."""
    shelf.commit(finished(loss=0.5))
    shelf.writer.write_outdated()
    path = shelf.folder / "r.json"
    path.write_text(path.read_text().replace("0.5", "0.75"))
    os.utime(path, (2e9, 2e9))
    shelf.forget()
    shelf.writer.write_outdated()
    shelf.forget()
    shelf.writer.write_outdated()
    (kept,) = set(shelf.folder.iterdir()) - {path}

    assert kept.name == "r.before-20330518T033320.000000Z.json"
    assert '"loss": 0.75' in kept.read_text()
    assert shelf.metrics() == {"loss": 0.5}


def test_a_store_that_was_taken_away_is_told(shelf: Shelf, tmp_path: Path) -> None:
    """It concerns every document, and more than those."""
    shelf.commit(finished(loss=0.5))
    (tmp_path / "steplog.db").unlink()

    with pytest.raises(StoreUnusable, match="deleted or replaced"):
        shelf.writer.write_outdated()


def test_no_document_is_written_into_the_last_of_the_disk(shelf: Shelf, tmp_path: Path) -> None:
    """It is said once for all of them, and they come when there is room."""
    for run_id in ("a", "b"):
        shelf.commit(finished(loss=0.5), run_id)
    unwritten = shelf.writer_on(HomeDisk(tmp_path, 2**62)).write_outdated()
    meanwhile = shelf.folder.exists()
    again = shelf.writer.write_outdated()

    assert list(unwritten) == [""]
    assert "(min_free), which are left to tasks: free some" in unwritten[""]
    assert (meanwhile, again) == (False, {})
    assert shelf.metrics("a") == shelf.metrics("b") == {"loss": 0.5}
