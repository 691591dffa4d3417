"""The metrics of the process itself: what they say, and where there is little to read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from steplogd.metrics import process
from steplogd.metrics.process import ProcessCollector


def collected() -> dict[str, float]:
    """Return the value of each, by name."""
    return {
        one.name: one.value for family in ProcessCollector().collect() for one in family.samples
    }


def test_a_process_says_what_it_takes() -> None:
    """Memory, processor and files as the kernel counts them."""
    found = collected()

    status = Path("/proc/self/status").read_text("ascii")
    resident = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    assert found["process_resident_memory_bytes"] == pytest.approx(resident, rel=0.2)
    assert found["process_virtual_memory_bytes"] > resident
    assert found["process_open_fds"] == pytest.approx(
        sum(1 for _ in Path("/proc/self/fd").iterdir()), abs=3
    )
    assert found["process_max_fds"] >= found["process_open_fds"]
    assert 0 < found["process_cpu_seconds_total"] <= time.process_time()
    assert found["process_start_time_seconds"] == pytest.approx(time.time(), abs=60)


def test_the_start_stays_what_it_is() -> None:
    """Though the clock is set: a rule takes another start for a restart."""
    collector = ProcessCollector()
    first, second = (next(iter(collector.collect())).samples[0].value for _ in range(2))

    assert first == second


def test_without_a_folder_of_its_own_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the whole machine is read for any of it."""
    monkeypatch.setattr(process, "_OWN", tmp_path / "none")

    assert collected().keys() == {
        "process_start_time_seconds",
        "process_cpu_seconds_total",
        "process_max_fds",
    }
