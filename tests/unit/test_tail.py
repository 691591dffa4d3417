"""The new whole lines of a spool, and whether a writer of it lives."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from steplog.events import MAX_LINE_BYTES
from steplog.spool import open_spool
from steplogd.intake.tail import (
    CHUNK_BYTES,
    CHUNK_LINES,
    NotAFolder,
    NotASpool,
    has_writer,
    list_spools,
    read_chunk,
    run_id_of,
)
from tests.lines import append

if TYPE_CHECKING:
    from pathlib import Path


def test_whole_lines_are_read_from_an_offset_on(tmp_path: Path) -> None:
    """A line that is still being written stays for the next time."""
    path = append(tmp_path, "r", b"one\ntwo\nthr")

    chunk = read_chunk(path, 4)

    assert (chunk.lines, chunk.offset, chunk.end, chunk.size) == (b"two\n", 4, 8, 11)
    assert not chunk.has_more


@pytest.mark.parametrize("offset", [8, 100])
def test_there_is_nothing_at_the_end_and_beyond(tmp_path: Path, offset: int) -> None:
    """A spool that became shorter shows by its size."""
    path = append(tmp_path, "r", b"one\ntwo\n")

    chunk = read_chunk(path, offset)

    assert (chunk.lines, chunk.size) == (b"", 8)


def test_a_long_spool_is_read_a_chunk_at_a_time(tmp_path: Path) -> None:
    """Cut after a line; the chunks together are the spool."""
    whole = b"".join(b"%0100d\n" % number for number in range(25_000))
    path = append(tmp_path, "r", whole)
    pieces = []

    has_more, offset = True, 0
    while has_more:
        chunk = read_chunk(path, offset)
        pieces.append(chunk.lines)
        has_more, offset = chunk.has_more, chunk.end

    assert b"".join(pieces) == whole
    assert len(pieces) == 3
    assert all(piece.endswith(b"\n") for piece in pieces)


def test_a_spool_of_very_short_lines_is_read_some_thousand_at_a_time(tmp_path: Path) -> None:
    """Else a file of garbage, which takes longer than events do, would hold up its neighbours."""
    path = append(tmp_path, "r", b"x\n" * (CHUNK_LINES + 1))

    first = read_chunk(path, 0)
    second = read_chunk(path, first.end)

    assert (first.lines, first.has_more) == (b"x\n" * CHUNK_LINES, True)
    assert (second.lines, second.has_more) == (b"x\n", False)


def test_a_place_in_a_spool_is_known_by_what_lies_before_it(tmp_path: Path) -> None:
    """Whether it was reached in one chunk or in several, and not by what comes after it."""
    whole = b"".join(b"%0100d\n" % number for number in range(30))
    path = append(tmp_path, "r", whole[:101])
    first = read_chunk(path, 0)
    append(tmp_path, "r", whole[101:])
    rest = read_chunk(path, 101)
    other = append(tmp_path, "s", whole[:-50], b"#" * 49 + b"\n")

    assert first.end_mark == rest.mark
    assert rest.end_mark == read_chunk(path, 0).end_mark == read_chunk(path, len(whole)).mark
    assert read_chunk(other, len(whole)).mark != rest.end_mark
    assert read_chunk(other, 101).mark == rest.mark


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Though spools lie where it leads."""
    append(tmp_path, "r", b"one\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "spool").symlink_to(tmp_path / "spool")
    path = tmp_path / "home" / "spool" / "r.jsonl"

    for look in (lambda: list(list_spools(path.parent)), lambda: read_chunk(path, 0)):
        with pytest.raises(NotAFolder, match="a link, which is not followed"):
            look()


def test_a_line_without_end_is_passed_over_but_for_what_may_be_an_event(tmp_path: Path) -> None:
    """The longest line that could have begun in it stays."""
    path = append(tmp_path, "r", b"x" * (2 * CHUNK_BYTES))

    chunk = read_chunk(path, 0)

    assert len(chunk.lines) == CHUNK_BYTES - MAX_LINE_BYTES
    assert chunk.has_more


def test_when_a_spool_was_appended_to_is_told_in_microseconds(tmp_path: Path) -> None:
    """For lines that do not say when they were written."""
    path = append(tmp_path, "r", b"one\n")
    os.utime(path, ns=(0, 1_234_567_891))

    assert read_chunk(path, 0).modified_ts == 1_234_567


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "loop"])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """And never waited for."""
    path = tmp_path / "r.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "loop" else append(tmp_path, "real", b"one\n"))

    for look in (lambda: read_chunk(path, 0), lambda: has_writer(path)):
        with pytest.raises(NotASpool):
            look()


def test_an_absent_spool_is_told_apart(tmp_path: Path) -> None:
    """It may come."""
    with pytest.raises(FileNotFoundError):
        read_chunk(tmp_path / "r.jsonl", 0)


def test_a_writer_lives_for_as_long_as_it_holds_its_lock(tmp_path: Path) -> None:
    """And to look takes nothing from it."""
    descriptor = open_spool(tmp_path, "r")
    path = tmp_path / "spool" / "r.jsonl"

    alive = [has_writer(path), has_writer(path)]
    os.close(descriptor)

    assert alive == [True, True]
    assert not has_writer(path)


def test_to_look_for_a_writer_leaves_the_spool_unlocked(tmp_path: Path) -> None:
    """The next writer takes its lock at once."""
    path = append(tmp_path, "r", b"one\n")
    has_writer(path)

    with path.open("rb") as spool:
        fcntl.flock(spool, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_only_spools_are_listed(tmp_path: Path) -> None:
    """By run id, with their size."""
    append(tmp_path, "good", b"one\n")
    append(tmp_path, "empty")
    folder = tmp_path / "spool"
    (folder / "note.txt").write_text("one")
    (folder / ".hidden.jsonl").write_text("one")
    (folder / "with space.jsonl").write_text("one")
    (folder / "folder.jsonl").mkdir()
    (folder / "link.jsonl").symlink_to(folder / "good.jsonl")

    assert sorted(list_spools(folder)) == [("empty", 0), ("good", 4)]


def test_no_folder_holds_no_spools(tmp_path: Path) -> None:
    """It is made with the first run."""
    assert list(list_spools(tmp_path / "absent")) == []


@pytest.mark.parametrize(
    ("name", "run_id"),
    [
        ("r.jsonl", "r"),
        ("a.b-c_0.jsonl", "a.b-c_0"),
        (f"{'r' * 128}.jsonl", "r" * 128),
        (f"{'r' * 129}.jsonl", None),
        (".jsonl", None),
        (".r.jsonl", None),
        ("ü.jsonl", None),
        ("r.json", None),
        ("r\n.jsonl", None),
    ],
)
def test_a_file_name_tells_the_run(name: str, run_id: str | None) -> None:
    """Or that it is no spool's."""
    assert run_id_of(name) == run_id
