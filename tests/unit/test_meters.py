"""What the stages count: of what is committed, missed, sent and refused, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steplog.home import spool_folder
from steplogd.delivery.counts import Counts
from steplogd.folding.missed import Missed
from steplogd.meters import Histogram
from steplogd.store.database import StoreError
from steplogd.store.run_logs import RunLogs
from tests.bench import line_over
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.folding.line import Line
    from steplogd.store.database import Database


@pytest.fixture
def folding(tmp_path: Path, database: Database) -> Line:
    """Build a line over an empty home."""
    spool_folder(tmp_path).mkdir()
    return line_over(tmp_path, database)


def fold(folding: Line, now: float = 0.0) -> None:
    """Fold all that is there, and end what is over."""
    while run_ids := folding.spools.grown():
        folding.run(run_ids)
    folding.end_runs(now, 1e9)


def test_what_is_committed_is_counted(folding: Line, tmp_path: Path) -> None:
    """Bytes, observations, losses, pieces, and runs by how they ended."""
    a, b = Scribe("a"), Scribe("b")
    lines = [a.line("join"), a.track(x=1, y=2), a.line("lost", count=3), b"garbage\n"]
    append(tmp_path, "r", *lines, a.line("leave"))
    size = append(tmp_path, "s", b.line("join"), b.line("leave", status="FAIL")).stat().st_size
    size += (tmp_path / "spool" / "r.jsonl").stat().st_size
    fold(folding)
    fold(folding, 10.0)

    meter = folding.meter
    assert (meter.bytes, meter.observations) == (size, 2)
    assert (meter.lost, meter.set_aside) == (3, 1)
    assert (meter.begun, meter.ended) == (2, {"SUCCESS": 1, "FAIL": 1})
    assert sum(meter.commits.counts) >= 2


def test_what_was_folded_before_the_start_is_not_counted(
    folding: Line, tmp_path: Path, database: Database
) -> None:
    """A counter begins at its daemon's start, as Prometheus has it; a run that goes on is open."""
    a = Scribe()
    append(tmp_path, "r", a.line("join"), a.track(), a.line("lost", count=3))
    fold(folding)
    later = line_over(tmp_path, database)
    append(tmp_path, "r", a.track())
    fold(later)

    assert (later.meter.observations, later.meter.lost, later.meter.begun) == (1, 0, 0)
    assert later.open_count() == 1


def test_what_could_not_be_committed_is_counted_once(
    folding: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is committed after all; the transaction took its time in vain."""

    def cannot(*_: object) -> None:
        raise StoreError("the disk is full")

    path = append(tmp_path, "r", line("track", values={"x": 1}))
    with monkeypatch.context() as broken:
        broken.setattr(RunLogs, "commit", cannot)
        with pytest.raises(StoreError):
            folding.run(["r"])
    folding.run(["r"])

    assert (folding.meter.bytes, folding.meter.observations) == (path.stat().st_size, 1)
    assert sum(folding.meter.commits.counts) == 2


def test_a_duration_counts_up_to_its_bound() -> None:
    """As Prometheus has it: a bound is part of what it bounds."""
    histogram = Histogram([0.1, 1.0])
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.add(seconds)

    assert histogram.counts == [2, 1, 1]
    assert histogram.sum_seconds == pytest.approx(7.65)


def test_counts_add_up() -> None:
    """What was sent, and what was refused."""
    counts = Counts()
    counts.add(sent=3)
    counts.add(refused=1, sent=2)

    assert (counts.sent, counts.refused) == (5, 1)


def test_what_only_the_sweep_finds_is_missed() -> None:
    """Once the next one has come, and no notification."""
    missed = Missed()
    missed.find({"r": 10, "s": 5}, {"s"})
    first = missed.size_bytes
    missed.find({"r": 25}, set())
    second = missed.size_bytes
    missed.find({}, set())

    assert (first, second, missed.size_bytes) == (0, 10, 35)


def test_what_is_told_of_late_is_not_missed() -> None:
    """A notification may be on its way while a sweep looks."""
    missed = Missed()
    missed.find({"r": 10, "s": 5}, set())
    missed.hear(["r"])
    missed.find({}, set())

    assert missed.size_bytes == 5
