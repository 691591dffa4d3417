"""Spools that are not what they were: truncated, replaced, deleted, or no file any more."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from steplog.home import spool_folder
from steplog.set_aside import read_set_aside
from steplogd.commands.status import read_status
from steplogd.config import Config, Settings
from steplogd.folding.spools import MOST_RESTARTS, REPLACED
from tests.bench import GRACE_SECONDS, Bench
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def truncate(path: Path) -> None:
    path.write_bytes(b"")


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def truncate_and_grow(path: Path) -> None:
    """Beyond what was folded, before anyone looked."""
    new = Scribe("new")
    path.write_bytes(b"".join(new.track(loss=float(n)) for n in range(9)))


def replace_with_as_much(path: Path) -> None:
    """By another file of the same length."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().replace(b'"w":"a"', b'"w":"z"'))
    other.replace(path)


def replace_with_more(path: Path) -> None:
    truncate_and_grow(path.with_name("other"))
    path.with_name("other").replace(path)


def change_in_place(path: Path) -> None:
    """Before the checkpoint, and grow it."""
    path.write_bytes(path.read_bytes().replace(b'"w":"a"', b'"w":"z"') + Scribe("new").track())


CHANGES = [
    truncate,
    shorten,
    truncate_and_grow,
    replace_with_as_much,
    replace_with_more,
    change_in_place,
]


@pytest.mark.parametrize("has_restarted", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_spool_that_is_another_is_read_from_its_start(
    bench: Bench, change: Callable[[Path], None], has_restarted: bool
) -> None:
    """What it holds arrives, what was folded before stays, and it is said; by a sweep alone."""
    a = Scribe()
    path = append(bench.home, "r", a.track(loss=-1.0), a.track(loss=-2.0))
    bench.fold()
    change(path)
    if has_restarted:
        bench.restart()
    bench.fold()
    append(bench.home, "r", b"\n", Scribe("last").track(loss=77.0))

    bench.fold()

    found = bench.values()
    assert found[:2] == [-1.0, -2.0]
    assert found[-1] == 77.0
    if change in (truncate, shorten):
        assert len(found) == 3
    if change in (truncate_and_grow, replace_with_more):
        assert found[2:-1] == [float(n) for n in range(9)]
    assert REPLACED in [piece.reason for piece in read_set_aside(bench.home, "r").pieces]


def test_a_spool_that_was_copied_back_is_the_same(bench: Bench) -> None:
    """A backup has another inode, and no line of it counts twice."""
    path = append(bench.home, "r", line("track", values={"x": 1}))
    bench.fold()
    copy = append(bench.home, "copy", path.read_bytes(), line("track", values={"x": 2}))
    copy.replace(path)

    bench.fold()

    assert bench.values() == [1, 2]
    assert bench.run()["malformed"] == 0


def test_a_spool_that_changes_all_the_time_keeps_nobody_busy(bench: Bench) -> None:
    """After so many times it is let be, and that is said; its neighbour is folded."""
    append(bench.home, "good", line("track", values={"x": 1}))
    for number in range(MOST_RESTARTS + 3):
        append(bench.home, "r").write_bytes(b"%d\n" % number * 10)
        bench.line.run(["r", "good"])

    assert "too often" in bench.line.spools.unreadable()["r"]
    assert bench.values("good") == [1]


def test_that_a_spool_was_read_anew_is_told_by_the_status(bench: Bench) -> None:
    """Beside the run, and how to look at it."""
    path = append(bench.home, "r", line("track", values={"x": 1}))
    bench.fold()
    truncate(path)
    bench.fold()

    status = read_status(Config(bench.home, Settings()))

    assert (status.read_anew, status.set_aside_runs) == (["r"], ["r"])


def test_a_spool_that_is_gone_keeps_no_drain_waiting(bench: Bench) -> None:
    """It was there when it was listed."""
    path = append(bench.home, "r", line("track", values={"x": 1}))
    sizes = bench.line.spools.sizes()
    path.unlink()
    bench.line.run(["r"])

    assert bench.line.spools.unfolded(sizes) == []


def plant_folder(path: Path) -> None:
    path.mkdir()


def plant_socket(path: Path) -> None:
    """By a short name: a socket's address is no longer than 108 bytes."""
    before = os.getcwd()  # noqa: PTH109
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(before)


def plant_large_file(path: Path) -> None:
    path.symlink_to(append(path.parents[1], "large", b"x\n" * 10_000))


PLANTS: list[Callable[[Path], None]] = [
    plant_folder,
    plant_socket,
    plant_large_file,
    os.mkfifo,
    lambda path: path.symlink_to("/etc/shadow"),
    lambda path: path.symlink_to(path),
    lambda path: path.symlink_to("/dev/zero"),
]


@pytest.mark.parametrize("plant", PLANTS)
def test_a_run_whose_spool_is_no_file_any_more_ends(
    bench: Bench, plant: Callable[[Path], None]
) -> None:
    """Nobody can come back to it; what was folded stays."""
    a = Scribe()
    path = append(bench.home, "r", a.line("join"), a.track(loss=0.5))
    bench.fold()
    path.unlink()
    plant(path)
    bench.line.run(["r"])

    bench.check_ends()
    bench.check_ends(GRACE_SECONDS)

    assert bench.run()["status"] == "FAIL"
    assert bench.values() == [0.5]


def test_a_device_is_not_even_opened(bench: Bench) -> None:
    """To open one may set it going."""
    path = spool_folder(bench.home) / "r.jsonl"
    try:
        os.mknod(path, 0o020666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")

    bench.line.run(["r"])

    assert "not a regular file" in bench.line.spools.unreadable()["r"]


def test_a_sweep_alone_finds_a_file_that_took_the_place_of_another(bench: Bench) -> None:
    """Though it is as long, and nothing is appended to it; a daemon that starts finds it too."""
    path = append(bench.home, "r", Scribe().track(loss=-1.0))
    bench.fold()
    replace_with_as_much(path)
    at_sweep = bench.line.spools.grown()
    bench.restart()

    bench.fold()

    assert at_sweep == ["r"]
    assert bench.values() == [-1.0, -1.0]
    assert bench.line.spools.grown() == []
