"""The spool as a file: how it is made, opened, locked, ended and appended to."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from steplog import InvalidName, spool
from steplog.home import document_path, spool_path
from steplog.spool import append_line, lock, open_new_spool, open_spool, write_line
from steplog.writer import Writer
from tests.conftest import spools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LINE = b'{"t":"leave"}\n'


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """Let the process make files that nobody else can read."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("strict_umask")
def test_modes_do_not_hang_on_the_umask(home: Path) -> None:
    """The home is its owner's alone, and a spool can be read by the group of its folder."""
    append_line(home, "r", _LINE)

    assert mode(home) == 0o700
    assert mode(home / "spool") == 0o700
    assert mode(spool_path(home, "r")) == 0o640


def test_missing_folders_are_made(tmp_path: Path) -> None:
    """The first line of a machine needs no preparation."""
    home = tmp_path / "not" / "there" / "yet"
    append_line(home, "r", _LINE)

    assert spool_path(home, "r").read_bytes() == _LINE


@pytest.mark.parametrize("torn", [b"", b"\n", _LINE, b'{"t":"tr', _LINE + b"{"])
def test_opening_ends_a_torn_tail(home: Path, torn: bytes) -> None:
    """What a killed writer left without an LF is ended before the next line."""
    path = spool_path(home, "r")
    path.parent.mkdir(parents=True)
    path.write_bytes(torn)
    append_line(home, "r", _LINE)

    ended = torn if not torn or torn.endswith(b"\n") else torn + b"\n"
    assert path.read_bytes() == ended + _LINE


def test_writer_holds_a_shared_lock_until_it_closes(home: Path) -> None:
    """Any number of writers hold the lock at once; nobody can have it alone meanwhile."""
    first, second = open_spool(home, "r"), open_spool(home, "r")
    other = os.open(spool_path(home, "r"), os.O_RDONLY)
    os.close(first)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(second)

    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_lock_that_somebody_keeps_is_not_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that keeps the lock to itself costs a writer a moment, and no event."""
    monkeypatch.setattr(spool, "LOCK_PAUSE_SECONDS", 0)
    append_line(home, "r", _LINE)
    other = os.open(spool_path(home, "r"), os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    append_line(home, "r", _LINE)

    assert not lock(os.open(spool_path(home, "r"), os.O_RDONLY))
    assert spool_path(home, "r").read_bytes() == 2 * _LINE
    os.close(other)


@pytest.fixture
def leased(home: Path) -> Iterator[int]:
    """Have a lease on a spool, as a daemon has for a moment; its descriptor."""
    append_line(home, "r", _LINE)
    fd = os.open(spool_path(home, "r"), os.O_RDONLY)
    before = signal.signal(signal.SIGURG, signal.SIG_IGN)
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        pytest.skip("the file system has no leases")
    yield fd
    os.close(fd)
    signal.signal(signal.SIGURG, before)


def test_lease_that_ends_costs_no_event(home: Path, leased: int) -> None:
    """Who opens the spool in that moment tries again."""
    asked = []

    def end(signal_number: int, _: object) -> None:
        asked.append(signal_number)
        fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    signal.signal(signal.SIGURG, end)
    append_line(home, "r", _LINE)

    assert asked == [signal.SIGURG]
    assert spool_path(home, "r").read_bytes() == 2 * _LINE


@pytest.mark.usefixtures("leased")
def test_lease_that_stays_is_not_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that keeps one costs a moment, and then the event: it might never be let in."""
    monkeypatch.setattr(spool, "LOCK_PAUSE_SECONDS", 0)

    with pytest.raises(BlockingIOError):
        append_line(home, "r", _LINE)


def test_run_id_that_leaves_the_folder_is_refused(home: Path) -> None:
    """No run id reaches a file elsewhere."""
    with pytest.raises(InvalidName):
        append_line(home, "../r", _LINE)

    assert not home.exists()


def test_new_spool_is_nobody_elses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up run id is taken neither by a spool nor by a run that ended and was cleared away."""
    proposals = iter(["taken", "ended", "free"])
    monkeypatch.setattr(spool, "propose_run_id", lambda: next(proposals))
    append_line(home, "taken", _LINE)
    document_path(home, "ended").parent.mkdir()
    document_path(home, "ended").touch()
    run_id, fd = open_new_spool(home)
    os.close(fd)

    assert run_id == "free"
    assert spools(home) == ["free", "taken"]


def test_new_spool_is_found_when_all_names_are_taken(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a minute's names are used up, they are told apart by digits."""
    monkeypatch.setattr(spool, "propose_run_id", lambda: "same")
    append_line(home, "same", _LINE)
    run_id, fd = open_new_spool(home)
    os.close(fd)

    assert run_id.startswith("same-")


def test_short_write_is_ended_and_repeated(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a part of a line the rest does not follow: another writer may have appended."""
    fd = open_spool(home, "r")
    real, sizes = os.write, [5]
    monkeypatch.setattr(
        os, "write", lambda fd, line: real(fd, line[: sizes.pop() if sizes else None])
    )
    write_line(fd, _LINE)
    os.close(fd)

    assert spool_path(home, "r").read_bytes() == _LINE[:5] + b"\n" + _LINE


def test_a_home_is_its_owners_to_use_whatever_the_umask(tmp_path: Path) -> None:
    """And nobody else's."""
    former = os.umask(0o777)
    try:
        append_line(tmp_path / "home", "r", b"{}\n")
    finally:
        os.umask(former)

    folders = [tmp_path / "home", tmp_path / "home" / "spool"]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]


def test_a_spool_that_is_taken_away_before_it_is_locked_is_left(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon may archive it just then; what would be written there came late."""
    append_line(home, "r", _LINE)
    path, away = spool_path(home, "r"), home / "away"
    lock_it = spool.lock

    def take_away_and_lock(fd: int) -> bool:
        if not away.exists():
            path.rename(away)
        return lock_it(fd)

    monkeypatch.setattr(spool, "lock", take_away_and_lock)
    append_line(home, "r", b'{"t":"lost","count":1}\n')

    assert away.read_bytes() == _LINE
    assert path.read_bytes() == b'{"t":"lost","count":1}\n'


def test_a_file_system_that_numbers_a_file_anew_each_time_is_put_up_with(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks as if it were taken away for ever is used all the same."""
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    append_line(home, "r", _LINE)
    run_id, fd = open_new_spool(home)
    os.close(fd)

    assert spool_path(home, "r").read_bytes() == _LINE
    assert spools(home) == sorted(["r", run_id])


@pytest.fixture
def locked(home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, int]:
    """Make a spool whose lock a daemon has to itself; give its path and the daemon's descriptor."""
    monkeypatch.setattr(spool, "LOCK_PAUSE_SECONDS", 0)
    append_line(home, "r", _LINE)
    path = spool_path(home, "r")
    daemon = os.open(path, os.O_RDONLY)
    fcntl.flock(daemon, fcntl.LOCK_EX)
    return path, daemon


def test_a_spool_that_is_taken_away_under_a_lock_that_lasts_is_left(
    home: Path, locked: tuple[Path, int]
) -> None:
    """A writer that did not get the lock looks where the name leads, until it has the lock."""
    (path, daemon), away = locked, home / "away"
    writer = Writer(home, "r", lambda: None)
    for step in (1, 2):
        writer.track("main", step, {"a": 1})
    path.rename(away)
    os.close(daemon)
    for step in (3, 4):
        writer.track("main", step, {"a": 1})
    writer.close()

    steps = [re.findall(rb'"step":(\d)', file.read_bytes()) for file in (away, path)]
    assert steps == [[b"1", b"2"], [b"3", b"4"]]


def overtake(patching: pytest.MonkeyPatch, path: Path, away: Path) -> None:
    """Let the next line be overtaken: its spool is renamed just before it is written."""
    write = spool.write_line

    def write_late(fd: int, line: bytes) -> None:
        if not away.exists():
            path.rename(away)
        write(fd, line)

    patching.setattr("steplog.pen.write_line", write_late)


def test_a_line_that_is_overtaken_by_the_rename_is_written_to_the_new_spool_too(
    home: Path, locked: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the same number, so that it counts once; the next one goes on from there."""
    (path, daemon), away = locked, home / "away"
    writer = Writer(home, "r", lambda: None)
    writer.track("main", 0, {"a": 1})
    overtake(monkeypatch, path, away)
    writer.track("main", 1, {"a": 1})
    writer.track("main", 2, {"a": 1})
    writer.close()
    os.close(daemon)

    late = away.read_bytes().splitlines()[-1]
    repeated, after = path.read_bytes().splitlines()
    assert [(json.loads(one)["n"], json.loads(one)["step"]) for one in (late, repeated, after)] == [
        (2, 1),
        (2, 1),
        (3, 2),
    ]


@pytest.mark.parametrize("has_joined", [True, False])
def test_a_greeting_that_is_overtaken_by_the_rename_is_written_to_the_new_spool_too(
    home: Path, locked: tuple[Path, int], monkeypatch: pytest.MonkeyPatch, has_joined: bool
) -> None:
    """Or nobody would know who is in the run; each line of it stands there under its own number."""
    (path, daemon), away = locked, home / "away"
    writer = Writer(home, "r", lambda: None)
    overtake(monkeypatch, path, away)
    if has_joined:
        writer.join("tag", {"lr": 0.1}, {})
    writer.track("main", 1, {"a": 1})
    writer.track("main", 2, {"a": 1})
    writer.close()
    os.close(daemon)

    told = [json.loads(one) for one in path.read_bytes().splitlines()]
    kinds = ["open", "join", "track", "track"] if has_joined else ["open", "track", "track"]
    assert [(one["t"], one["n"]) for one in told] == list(zip(kinds, range(4), strict=False))
