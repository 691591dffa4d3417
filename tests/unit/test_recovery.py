"""A start after a kill, a power cut or a lost store: archive and store come together again."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from steplog.home import spool_path
from steplogd.retention.archive import Archive, NoArchive
from steplogd.store.archived import START, ArchivedSpool
from steplogd.store.database import StoreUnusable
from steplogd.store.holding import take
from tests.lines import append, line
from tests.shelf import PLACE, STEPS, Shelf, all_steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from steplogd.core.retention import Action


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


@pytest.mark.parametrize("is_store_lost", [False, True])
def test_a_spool_with_both_names_keeps_the_old_one(shelf: Shelf, is_store_lost: bool) -> None:
    """A kill came while it was put back; it is no further spool of its run for a new store."""
    (shelf.home / "archive").mkdir()
    os.link(spool_path(shelf.home, "r"), shelf.archive.path(PLACE))
    shelf.lose_store() if is_store_lost else shelf.start()

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
    for module in ("intake.tail", "retention.compression"):
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


@pytest.mark.parametrize("action", ["compress", "remove"])
def test_a_store_that_lost_its_wal_is_kept_where_it_cannot_be_folded_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    """What is compressed can be, what was removed cannot."""
    monkeypatch.setattr("steplogd.retention.archivist.REST_SECONDS", 0.0)
    take(shelf.database, dict)
    shelf.take()
    ((run_no, _, spool),) = shelf.archived.in_state("resting", START, 1)
    shelf.archivist.finish(run_no, PLACE, spool, action, 0.0, lambda: None)
    shelf.database.close()
    shelf.open_store()
    assert not shelf.database.had_wal
    may_be_lost = pytest.raises(StoreUnusable, match="lost its last commits")
    with may_be_lost if action == "compress" else contextlib.nullcontext():
        take(shelf.database, shelf.archive.sizes)

    assert (shelf.row()[1] == "removed") == (action == "remove")


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


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
def test_what_cannot_be_read_for_now_is_not_overtaken(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Neither its run's spool is folded before it, nor does the run end; it is tried again."""
    shelf.take()
    append(shelf.home, "r", line("track", step=STEPS, values={"x": 1}))
    shelf.lose_store()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("steplogd.retention.archived_spools.read_chunk", failing_with(code))
        assert shelf.fold() == []
        shelf.line.run(shelf.line.waiting())
        shelf.line.end_runs(0.0, 0.0)
        shelf.line.end_runs(10.0, 10.0)
        assert shelf.fold() == []
        assert not shelf.line.is_at_rest("r")
        assert "r.1.jsonl" in shelf.line.spools.unreadable()["r"]
    shelf.line.run(shelf.line.run(shelf.line.waiting()).unfinished)

    assert shelf.fold() == all_steps(STEPS + 1)
    assert not shelf.line.spools.unreadable()


@pytest.mark.parametrize("is_renamed", [True, False])
def test_a_spool_of_which_nothing_can_be_told_at_the_start_is_not_overtaken(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, is_renamed: bool
) -> None:
    """It was renamed, or the disk has forgotten that, and the store is told when it can be read."""
    if is_renamed:
        shelf.archive.path(PLACE).parent.mkdir()
        spool_path(shelf.home, "r").rename(shelf.archive.path(PLACE))
    else:
        shelf.take()
        shelf.archive.path(PLACE).rename(spool_path(shelf.home, "r"))
    append(shelf.home, "r", line("track", step=STEPS, values={"x": 1}))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Archive, "is_known_by", failing_with(errno.EMFILE))
        shelf.start()
        shelf.line.run([*shelf.line.waiting(), *shelf.line.spools.grown()])
        found = shelf.fold(), shelf.line.spools.unreadable(), shelf.line.is_at_rest("r")
    shelf.line.waiting()

    assert found == (all_steps(), {"r": "[Errno 24] Too many open files"}, False)
    assert shelf.fold() == all_steps(STEPS + 1)
    assert shelf.line.spools.unreadable() == {}
    with shelf.database.reading() as connection:
        assert connection.execute("SELECT malformed FROM run").fetchall() == [(0,)]
    shelf.start()
    assert shelf.fold() == all_steps(STEPS + 1)


def test_a_file_where_the_archive_should_be_holds_up_nobody(shelf: Shelf) -> None:
    """What is in `spool/` is folded; and it is no run's fault that it cannot be archived."""
    (shelf.home / "archive").touch()
    append(shelf.home, "r", line("track", step=STEPS, values={"x": 1}))
    shelf.start()
    with pytest.raises(NoArchive, match="archive"):
        shelf.archive.take_out("r", 1, 0, b"")

    assert shelf.archive.sizes() == {}
    assert shelf.fold() == all_steps(STEPS + 1)


def test_an_archive_that_cannot_be_read_for_now_is_read_when_it_can_be(shelf: Shelf) -> None:
    """What the store knows of it stays so, and what came late to it is folded then."""
    shelf.take()
    append_to(shelf.archive.path(PLACE), line("track", step=STEPS, values={"x": 1}))
    folder, away = shelf.home / "archive", shelf.home / "away"
    folder.rename(away)
    folder.symlink_to(folder)
    shelf.start()
    assert shelf.fold() == all_steps(STEPS)
    assert shelf.row()[1] == "resting"
    shelf.line.waiting()
    folder.unlink()
    away.rename(folder)
    shelf.line.waiting()

    assert shelf.fold() == all_steps(STEPS + 1)


def append_to(path: Path, content: bytes) -> None:
    """Append something to a file."""
    with path.open("ab") as file:
        file.write(content)


def failing_with(code: int) -> Callable[..., None]:
    """Return what fails."""

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_unfinished_files_of_a_kill_are_removed(shelf: Shelf) -> None:
    """Nobody else would, and they take room; what is none of ours stays."""
    (shelf.home / "archive").mkdir()
    for name in (".r.1.jsonl.gz.tmp", "notes.txt", "r.jsonl", "r.0.jsonl"):
        (shelf.home / "archive" / name).touch()
    shelf.start()

    names = sorted(path.name for path in (shelf.home / "archive").iterdir())
    assert names == ["notes.txt", "r.0.jsonl", "r.jsonl"]


def test_one_that_was_about_to_be_removed_is_as_before(shelf: Shelf) -> None:
    """A kill came after the store was told, and before it was deleted; it is gone on with."""
    shelf.take()
    size = shelf.archive.compress(PLACE, shelf.archive.path(PLACE).stat().st_size, lambda: None)
    ((run_no, _, spool),) = shelf.archived.in_state("resting", START, 1)
    shelf.archived.settle(run_no, replace(spool, state="removed", size=0))
    shelf.start()
    steps = shelf.fold()

    ((_, _, found),) = shelf.archived.in_state("compressed", START, 1)
    assert found == replace(spool, state="compressed", size=size)
    assert steps == all_steps()
