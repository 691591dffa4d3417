"""Room: what a writer may append before the last of a disk begins, and what of that is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steplog import TrackingError, configure, room
from steplog.cli import main
from steplog.errors import NoRoom
from steplog.events import MAX_LINE_BYTES, End, Join, Leave, Lost, Open, Start, Track
from steplog.room import Room, min_free
from steplog.spool import append_line
from steplog.writer import Writer
from tests.conftest import events, is_gapless, numbers, tracked

if TYPE_CHECKING:
    from pathlib import Path

MIN_FREE = 1_000_000


class Disk:
    """A disk of which a test says how much is free, and a clock that the test turns."""

    def __init__(self) -> None:
        self.free = 10 * MIN_FREE
        self.now = 1.0
        self.looks = 0

    def free_bytes(self, _: int) -> int:
        """Return what is free."""
        self.looks += 1
        return self.free

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Let this disk be the one that is looked at."""
    disk = Disk()
    monkeypatch.setenv("STEPLOG_MIN_FREE", str(MIN_FREE))
    monkeypatch.setattr(room, "free_bytes", disk.free_bytes)
    monkeypatch.setattr(room, "_now", disk.monotonic)
    return disk


@pytest.fixture
def writer(home: Path) -> Writer:
    """Return a writer that has said nothing yet."""
    return Writer(home, "r", lambda: None)


def test_line_that_fits_beyond_the_reserve_is_written_and_one_that_does_not_is_not(
    disk: Disk,
) -> None:
    """The last line ends where `min_free` begins."""
    disk.free = MIN_FREE + 100

    assert Room().claim(0, 100) == 0
    with pytest.raises(NoRoom, match=r"last 1,000,000 bytes \(min_free\).*STEPLOG_MIN_FREE"):
        Room().claim(0, 101)


@pytest.mark.parametrize(
    ("free", "piece"), [(MIN_FREE + 64_100, 1000), (10**12, MAX_LINE_BYTES), (MIN_FREE + 100, 0)]
)
def test_a_writer_takes_a_small_piece_without_another_look(
    disk: Disk, free: int, piece: int
) -> None:
    """As many writers as there are pieces cannot eat into the reserve together."""
    disk.free = free

    assert Room().claim(0, 100) == piece


def test_disk_that_is_short_is_looked_at_now_and_then_only(disk: Disk) -> None:
    """However often a task tracks on a full disk, the disk is asked ten times a second at most."""
    disk.free = MIN_FREE
    claimed = Room()
    for _ in range(1000):
        with pytest.raises(NoRoom):
            claimed.claim(0, 100)
    seen = disk.looks
    disk.free = 2 * MIN_FREE
    disk.now += room.LOOK_AGAIN_SECONDS

    assert seen == 1
    assert claimed.claim(0, 100) > 0


def test_plain_numbers_do_not_look_at_the_disk_each_time(disk: Disk, writer: Writer) -> None:
    """The fast path spends what it was given, and looks when that is used up."""
    writer.track("main", 0, {"a": 0.5})
    before = disk.looks
    for step in range(1000):
        writer.track("main", step, {"a": 0.5})

    assert disk.looks == before
    assert len(tracked(writer.home)) == 1001


def test_fast_path_stops_where_the_reserve_begins(disk: Disk, writer: Writer) -> None:
    """What was given out before the disk was found short is all that is still written."""
    writer.track("main", 0, {"a": 0.5})
    disk.free = MIN_FREE
    for step in range(1, 5000):
        writer.track("main", step, {"a": 0.5})
    written = (writer.home / "spool" / "r.jsonl").stat().st_size
    disk.free, disk.now = 10 * MIN_FREE, disk.now + 1
    writer.track("main", 5000, {"a": 0.5})

    (lost,) = [event.count for event in events(writer.home) if isinstance(event, Lost)]
    assert written <= 1000 + (10 * MIN_FREE - MIN_FREE) // room.PIECE
    assert lost + len(tracked(writer.home)) == 5001
    assert tracked(writer.home)[-1].step == 5000
    assert is_gapless(numbers(writer.home))


def test_loss_and_end_are_told_out_of_the_reserve(
    disk: Disk, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that goes on, and ends, on a full disk has begun, lost so many, and left."""
    disk.free = MIN_FREE - 1
    writer.join("tag", {"rate": 0.5}, {})
    for step in range(5):
        writer.track("main", step, {"a": 0.5})
        writer.track("main", step, {"a": "text"})
    writer.leave("SUCCESS", "")

    assert [type(event) for event in events(writer.home)] == [Open, Join, Lost, Leave]
    (lost,) = [event for event in events(writer.home) if isinstance(event, Lost)]
    assert (lost.count, "min_free" in lost.reason) == (10, True)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "1,000,000 bytes (min_free)" in warning
    assert "STEPLOG_MIN_FREE" in warning


def test_writer_that_did_not_join_tells_all_at_its_end(disk: Disk, writer: Writer) -> None:
    """What must stand before a line that is refused is refused with it, and comes with the end."""
    disk.free = MIN_FREE - 1
    writer.track("main", 0, {"a": 0.5})
    before = events(writer.home)
    writer.leave("SUCCESS", "")

    assert before == []
    assert [type(event) for event in events(writer.home)] == [Open, Lost, Leave]


def test_tasks_without_number_do_not_eat_the_reserve(disk: Disk, writer: Writer) -> None:
    """Ends of tasks are told on a full disk, but not for ever; all of them are counted."""
    disk.free = MIN_FREE - 1
    writer.join("", {}, {})
    for _ in range(1000):
        writer.append(Start, task="train")
        writer.append(End, task="train")
    size = (writer.home / "spool" / "r.jsonl").stat().st_size
    writer.leave("SUCCESS", "")

    found = events(writer.home)
    ends = sum(isinstance(event, End) for event in found)
    assert 0 < ends < 100
    assert size < 2 * MIN_FREE // room.PIECE
    assert sum(event.count for event in found if isinstance(event, Lost)) == 2000 - ends
    assert isinstance(found[-1], Leave)
    assert is_gapless(numbers(writer.home))


def test_strict_raises_where_the_reserve_begins(disk: Disk, writer: Writer) -> None:
    """Who asks for it gets the refusal as an error, which says what to do."""
    disk.free = MIN_FREE
    configure(strict=True)
    with pytest.raises(TrackingError, match="STEPLOG_MIN_FREE"):
        writer.track("main", 0, {"a": 0.5})


def test_visitor_is_refused_too(disk: Disk, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`steplog track` says in one sentence why nothing was tracked, and fails."""
    disk.free = MIN_FREE
    status = main(["track", "--run-id", "r", "loss=0.5"])
    with pytest.raises(NoRoom):
        append_line(home, "r", b'{"t":"leave"}\n')

    said = capsys.readouterr().err
    assert status == 1
    assert said.startswith("steplog: the disk is full but for the last 1,000,000 bytes (min_free)")
    assert said.count("\n") == 1
    assert events(home, "r") == []


@pytest.mark.parametrize("text", ["much", "-1", "1e6", "64 MiB", "\u0664", "9" * 5000])
def test_nonsense_is_warned_of_once_and_the_default_holds(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong variable costs a sentence, and neither an event nor the reserve; strict or not."""
    usual = min_free(tmp_path)
    monkeypatch.setenv("STEPLOG_MIN_FREE", text)
    monkeypatch.setenv("STEPLOG_STRICT", "1")
    found = [min_free(tmp_path), min_free(tmp_path)]

    assert found == [usual, usual]
    assert 0 < usual <= room.MAX_MIN_FREE
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("STEPLOG_MIN_FREE is no number of bytes")


def test_zero_leaves_nothing_free(
    disk: Disk, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who wants the last byte gets it, and the disk is never looked at."""
    monkeypatch.setenv("STEPLOG_MIN_FREE", "0")
    disk.free = 0
    writer.track("main", 0, {"a": 0.5})
    writer.append(Track, task="main", values={"a": "text"})

    assert (len(tracked(writer.home)), disk.looks) == (2, 0)


def test_file_system_that_does_not_say_is_written_to(tmp_path: Path) -> None:
    """Where nobody knows what is free (some are not disks at all), nothing is refused."""
    assert (min_free(tmp_path / "gone"), room.free_bytes(tmp_path / "gone")) == (0, 2**63)
