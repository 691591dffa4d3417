"""Disks that are full, limits that are reached, homes that cannot be: the task always goes on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import steplog
from steplog.events import Leave, Lost, Malformed
from tests.conftest import events, is_gapless, run_program, tracked
from tests.disks import MEBIBYTE, fill, mounted_or_skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_TEXT = "x" * 3000


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(
    request: pytest.FixtureRequest, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Put the home on a disk of its own that may be used to its last byte; its mount point."""
    size_bytes = 65_536 if request.param == "tmpfs" else MEBIBYTE
    with mounted_or_skipped(tmp_path / "disk", request.param, size_bytes) as mount:
        monkeypatch.setenv("STEPLOG_HOME", str(mount / "home"))
        monkeypatch.setenv("STEPLOG_MIN_FREE", "0")
        yield mount


def test_task_goes_on_while_the_disk_is_full(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk costs the events that do not fit; once there is room, the spool says how many."""
    home = small_disk / "home"
    with steplog.start_run("r") as run:
        run.track({"text": _TEXT}, step=0)
        filler = fill(small_disk)
        for step in range(1, 41):
            run.track({"text": _TEXT}, step=step)
        filler.unlink()
        run.track_this(step=99, loss=0.5)

    lost = [event for event in events(home) if isinstance(event, Lost)]
    assert sum(event.count for event in lost) > 30
    assert sum(event.count for event in lost) + len(tracked(home)) == 42
    assert "No space left" in lost[-1].reason
    assert tracked(home)[-1].step == 99
    assert isinstance(events(home)[-1], Leave)
    assert len([e for e in events(home) if isinstance(e, Malformed)]) <= 1
    assert is_gapless(numbers_of_whole_lines(home))
    assert len(caplog.records) == 1


def numbers_of_whole_lines(home: Path) -> dict[str, list[int]]:
    by_writer: dict[str, list[int]] = {}
    for event in events(home):
        if not isinstance(event, Malformed):
            by_writer.setdefault(event.w, []).append(event.n)
    return by_writer


def test_plain_numbers_are_counted_when_they_do_not_fit(small_disk: Path) -> None:
    """Events of the fast path too are whole, or counted, when the disk fills up under them."""
    home = small_disk / "home"
    with steplog.start_run("r") as run:
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * 16_384)
        for step in range(20_000):
            run.track_this(step=step, loss=step / 7)
        filler.unlink()
        run.track_this(step=-1, loss=0.5)

    lost = [event.count for event in events(home) if isinstance(event, Lost)]
    assert sum(lost) + len(tracked(home)) == 20_001
    assert sum(lost) > 0
    assert is_gapless(numbers_of_whole_lines(home))


def test_run_that_starts_on_a_full_disk_begins_when_there_is_room(small_disk: Path) -> None:
    """What a run has to say first is said as soon as it can be."""
    home = small_disk / "home"
    filler = fill(small_disk)
    with steplog.start_run("r", tag="t", parameters={"rate": 0.1}) as run:
        run.track_this(step=1, loss=0.5)
        filler.unlink()
        run.track_this(step=2, loss=0.5)

    kinds = [type(event).__name__ for event in events(home, "r")]
    assert [kind for kind in kinds if kind != "Malformed"] == (
        ["Open", "Join", "Lost", "Track", "Leave"]
    )
    assert [event.step for event in tracked(home)] == [2]


def test_strict_raises_on_a_full_disk(small_disk: Path) -> None:
    """Who asks for it gets the error instead, and the run can still be ended."""
    run = steplog.start_run("r")
    filler = fill(small_disk)
    steplog.configure(strict=True)
    with pytest.raises(steplog.TrackingError, match="No space left"):
        run.track({"text": 20 * _TEXT})
    filler.unlink()
    run.end()

    assert isinstance(events(small_disk / "home")[-1], Leave)


def test_file_size_limit_costs_what_is_beyond_it(home: Path) -> None:
    """Where the system limits the size of files, the task goes on without what is beyond."""
    done = run_program("""
        import resource, steplog
        run = steplog.start_run("r")
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
        for step in range(20): run.track({"text": "x" * 900}, step=step)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        run.track_this(step=99, loss=0.5)
        print("on")
    """)
    (lost,) = [event.count for event in events(home) if isinstance(event, Lost)]

    assert done.stdout == "on\n"
    assert lost + len(tracked(home)) == 21
    assert done.stderr.count("not recorded") == 1


def test_process_without_descriptors_tracks_when_it_has_one(home: Path) -> None:
    """A process that can open no file loses what it tracks until it can, and says how much."""
    done = run_program("""
        import logging, os, resource, steplog
        resource.setrlimit(resource.RLIMIT_NOFILE, (30, resource.getrlimit(7)[1]))
        taken = []
        try:
            while True: taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError: pass
        run = steplog.start_run("r")
        for step in range(5): run.track_this(step=step, loss=0.5)
        os.close(taken.pop())
        run.track_this(step=5, loss=0.5)
    """)

    assert "Too many open files" in done.stderr
    assert [e.count for e in events(home) if isinstance(e, Lost)] == [5]
    assert [event.step for event in tracked(home)] == [5]


@pytest.mark.parametrize(
    "place", ["/proc/nowhere", "/dev/null/home", "/sys/home"], ids=["proc", "device", "sys"]
)
def test_home_that_cannot_be_costs_the_events_alone(
    home: Path, place: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no home can be made, tracking warns once, and the run can be started and ended."""
    monkeypatch.setenv("STEPLOG_HOME", place)
    with steplog.start_run() as run, steplog.task("train"):
        for step in range(3):
            steplog.track_this(step=step, loss=0.5)
    run.track_this(step=3, loss=0.5)

    assert len(caplog.records) == 1


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "loop"])
def test_spool_that_is_no_file_is_left_alone(
    home: Path, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where something else has the spool's name, nothing is written, and nothing waits."""
    spool = home / "spool" / "r.jsonl"
    spool.parent.mkdir(parents=True)
    other = tmp_path / "other"
    other.write_text("mine")
    make: dict[str, Callable[[], None]] = {
        "folder": spool.mkdir,
        "pipe": lambda: os.mkfifo(spool),
        "link": lambda: spool.symlink_to(other),
        "loop": lambda: spool.symlink_to(spool),
    }
    make[kind]()
    with steplog.start_run("r") as run:
        run.track_this(loss=0.5)

    assert len(caplog.records) == 1
    assert other.read_text() == "mine"


def test_home_of_another_user_costs_the_events_alone(tmp_path: Path) -> None:
    """A home that this user may not enter is warned of, with a run id of its own too."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    done = run_program(
        """
        import json, logging, os, steplog  # before they can no longer be read
        os.setuid(65534)
        steplog.track_this(loss=0.5)
        print("on")
        """,
        STEPLOG_HOME=str(home),
    )

    assert done.stdout == "on\n"
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_working_directory_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    """A process whose working directory was deleted, with a relative home, still goes on."""
    done = run_program(
        """
        import os, sys, steplog
        os.mkdir(sys.argv[1]); os.chdir(sys.argv[1]); os.rmdir(sys.argv[1])
        steplog.track_this(loss=0.5)
        print("on")
        """,
        str(tmp_path / "gone"),
        STEPLOG_HOME="relative",
    )

    assert done.stdout == "on\n"
    assert "Traceback" not in done.stderr
