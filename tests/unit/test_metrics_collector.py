"""The collector of metrics: how often it looks, and what it says of a store it cannot read."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from steplogd.meters import BackendMeters, LineMeter, Meters
from steplogd.metrics.collector import ServiceCollector
from steplogd.store.database import Database

if TYPE_CHECKING:
    from pathlib import Path


def meters() -> Meters:
    """Return what a daemon with one backend has counted."""
    backend = BackendMeters("file", 0, 0, 0, behind=[])
    return Meters(LineMeter(), 0, 0, 0, 0, 0, 0, 0, [backend])


def test_a_store_that_cannot_be_read_is_said_once(tmp_path: Path) -> None:
    """When that begins, when its reason changes, and when it begins again; not for each look."""
    now, store = 0.0, tmp_path / "steplog.db"
    collector = ServiceCollector(store, clock=lambda: now)
    collector.look_at(meters)

    def look(times: int) -> list[str]:
        nonlocal now
        with capture_logs() as said:
            for _ in range(times):
                now += 100
                collector.collect()
        return [told["reason"].partition(" cannot")[2] for told in said]

    missing = look(3)
    store.write_bytes(b"garbage" * 1000)
    broken = look(3)
    store.unlink()
    with contextlib.closing(Database(store)):
        there = look(3)
    store.unlink()
    missing_again = look(3)

    assert len(missing) == len(broken) == 1
    assert missing != broken
    assert (there, missing_again) == ([], missing)


def test_a_look_that_took_long_is_not_told_for_hours(tmp_path: Path) -> None:
    """But for a minute after it, so that nobody who asks has it look all the time."""
    now, looks = 0.0, 0

    def slow() -> Meters:
        nonlocal now, looks
        looks += 1
        now += 1000
        return meters()

    collector = ServiceCollector(tmp_path / "steplog.db", clock=lambda: now)
    collector.look_at(slow)
    found = []
    for seconds in (0, 59, 1):
        now += seconds
        collector.collect()
        found.append(looks)

    assert found == [1, 1, 2]
