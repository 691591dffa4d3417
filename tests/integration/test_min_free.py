"""The last of a real disk is left to the task's own files, and what that costs is told."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

import steplog
from steplog.events import Join, Leave, Lost
from tests.commands import STEPLOG
from tests.conftest import DEADLINE_SECONDS, events, run_program, start_program, tracked, wait_until
from tests.disks import (
    MEBIBYTE,
    fill,
    free_bytes,
    make_read_only,
    mount_again,
    mounted_or_skipped,
    use_up_files,
)
from tests.execs import run_exec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = 4096
_TEXT = "x" * 3000


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(
    request: pytest.FixtureRequest, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Put the home on a disk of its own, of which the last MiB is left to others."""
    with mounted_or_skipped(tmp_path / "disk", request.param, 4 * MEBIBYTE) as mount:
        monkeypatch.setenv("STEPLOG_HOME", str(mount / "home"))
        monkeypatch.setenv("STEPLOG_MIN_FREE", str(MEBIBYTE))
        yield mount


def lost_in(home: Path) -> int:
    return sum(event.count for event in events(home, "r") if isinstance(event, Lost))


def test_own_files_can_be_written_while_events_are_refused(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Tracking without end leaves the last `min_free` alone; each call is there, or counted."""
    home = disk / "home"
    with steplog.start_run("r") as run:
        for step in range(40_000):
            run.track_this(step=step, loss=step / 7)
        for step in range(100):
            run.track({"text": _TEXT}, step=step)
        left = free_bytes(disk)
        (disk / "checkpoint.pt").write_bytes(b"x" * (left - 8 * _BLOCK))

    assert MEBIBYTE - 2 * _BLOCK < left < MEBIBYTE + 2 * _BLOCK
    assert 0 < len(tracked(home)) < 40_100
    assert lost_in(home) + len(tracked(home)) == 40_100
    assert isinstance(events(home)[-1], Leave)
    assert ["min_free" in record.getMessage() for record in caplog.records] == [True]


def test_many_writers_together_leave_it_alone(disk: Path) -> None:
    """Writers that fill a disk at the same time do not add up to more than was to be had."""
    home = disk / "home"
    programs = [
        start_program("""
            import steplog
            with steplog.start_run("r") as run:
                for step in range(8000): run.track({"text": "x" * 300}, step=step)
        """)
        for _ in range(4)
    ]
    for program in programs:
        program.communicate()

    assert free_bytes(disk) > MEBIBYTE - 16 * _BLOCK
    assert lost_in(home) > 0
    assert lost_in(home) + len(tracked(home)) == 32_000


def test_tracking_goes_on_by_itself_once_there_is_room(disk: Path) -> None:
    """Nobody has to start anything anew, and the spool says how many were lost meanwhile."""
    home, issued = disk / "home", 0
    with steplog.start_run("r") as run:
        filler = fill(disk, MEBIBYTE)

        def is_tracked() -> bool:
            nonlocal issued
            issued += 1
            run.track_this(step=issued, loss=0.5)
            return bool(tracked(home))

        for _ in range(100):
            assert not is_tracked()
        filler.unlink()
        wait_until(is_tracked)

    assert lost_in(home) + len(tracked(home)) == issued
    assert [event.step for event in tracked(home)] == [issued]


def test_run_begins_and_ends_within_the_reserve(disk: Path) -> None:
    """A run of which nothing could be recorded is there nevertheless, and is not taken for dead."""
    home = disk / "home"
    filler = fill(disk, MEBIBYTE - _BLOCK)
    done = run_program("""
        import steplog
        with steplog.start_run("r", tag="t"), steplog.task("train"):
            for step in range(5): steplog.track_this(step=step, loss=0.5)
    """)
    filler.unlink()

    found = events(home, "r")
    assert [type(event).__name__ for event in found] == ["Open", "Join", "Lost", "End", "Leave"]
    assert [event.tag for event in found if isinstance(event, Join)] == ["t"]
    assert lost_in(home) == 6  # the start of the task too
    assert done.stderr.count("not recorded") == 1


def test_strict_raises_for_each_that_is_refused(disk: Path) -> None:
    """Who asks for it knows exactly which are there: those that returned."""
    steplog.configure(strict=True)
    returned, refused = [], 0
    run = steplog.start_run("r")
    for step in range(3000):
        try:
            run.track({"text": _TEXT}, step=step)
        except steplog.TrackingError:
            refused += 1
        else:
            returned.append(step)
    steplog.configure(strict=False)
    run.end()

    assert [event.step for event in tracked(disk / "home")] == returned
    assert lost_in(disk / "home") == refused > 0


def test_output_of_a_command_leaves_it_alone(disk: Path) -> None:
    """The log of a task is cut where the last `min_free` begins; the command's output is not."""
    printed = 6 * MEBIBYTE
    done = run_exec("--", "head", "-c", str(printed), "/dev/zero")

    (log,) = (disk / "home" / "catalog" / "r").iterdir()
    assert (done.returncode, len(done.stdout)) == (0, printed)
    assert 0 < log.stat().st_size < 3 * MEBIBYTE
    assert MEBIBYTE - 4 * _BLOCK < free_bytes(disk) < MEBIBYTE + 32 * _BLOCK
    assert b"no longer kept in" in done.stderr
    assert b"STEPLOG_MIN_FREE" in done.stderr
    assert isinstance(events(disk / "home", "r")[-1], Leave)


def test_visitor_is_refused_in_one_sentence(disk: Path) -> None:
    """`steplog track` fails when what it was given is not in the spool."""
    fill(disk, MEBIBYTE - _BLOCK)
    done = subprocess.run(
        [*STEPLOG, "track", "--run-id", "r", "loss=0.5"],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("steplog: the disk is full but for the last 1,048,576 bytes")
    assert done.stderr.count("\n") == 1


def test_a_twentieth_of_a_small_disk_is_left_without_being_asked(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default goes by the size of the file system."""
    monkeypatch.delenv("STEPLOG_MIN_FREE")
    status = os.statvfs(disk)
    size = status.f_blocks * status.f_frsize
    with steplog.start_run("r") as run:
        for step in range(2000):
            run.track({"text": _TEXT}, step=step)

    assert abs(free_bytes(disk) - size // 20) < 4 * _BLOCK
    assert lost_in(disk / "home") + len(tracked(disk / "home")) == 2000


def test_tracking_goes_on_where_a_broken_disk_is_mounted_anew(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read-only costs what is tracked meanwhile; the spool is opened again where its path leads."""
    flags = "errors=remount-ro"
    with mounted_or_skipped(tmp_path / "disk", "ext4", 4 * MEBIBYTE, flags=flags) as mount:
        monkeypatch.setenv("STEPLOG_HOME", str(mount / home.name))
        with steplog.start_run("r") as run:
            run.track_this(step=0, loss=0.5)
            make_read_only(mount)
            for step in range(1, 6):
                run.track_this(step=step, loss=0.5)
            mount_again(mount)
            run.track_this(step=6, loss=0.5)
        found = events(mount / home.name, "r")

    assert [type(event).__name__ for event in found] == (
        ["Open", "Join", "Track", "Lost", "Track", "Leave"]
    )
    assert [event.count for event in found if isinstance(event, Lost)] == [5]


def test_run_without_a_file_to_be_had_begins_when_there_is_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that has room, but can hold no further file, costs what is tracked meanwhile."""
    with mounted_or_skipped(tmp_path / "disk", "ext4", 4 * MEBIBYTE, "-N", "32") as mount:
        monkeypatch.setenv("STEPLOG_HOME", str(mount / home.name))
        last = use_up_files(mount)
        with steplog.start_run("r", tag="t") as run:
            for step in range(5):
                run.track_this(step=step, loss=0.5)
            for path in last[-3:]:
                path.unlink()
            run.track_this(step=5, loss=0.5)
        found = events(mount / home.name, "r")

    assert [type(event).__name__ for event in found] == ["Open", "Join", "Lost", "Track", "Leave"]
    assert [event.count for event in found if isinstance(event, Lost)] == [5]
    assert ["No space left" in record.getMessage() for record in caplog.records] == [True]
