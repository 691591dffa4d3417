"""What keeps retention from doing too much: budgets, rests, and runs that are let alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from steplogd.core.retention import Policy
from steplogd.retention import budget as budget_module
from steplogd.retention import turned_down
from steplogd.retention.archivist import Done
from steplogd.retention.budget import Budget
from steplogd.retention.home_size import taken_bytes
from steplogd.retention.turned_down import TurnedDown
from steplogd.store.archived import Archived

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from steplogd.store.database import Database


def go_on() -> bool:
    """Tell that it is not time to stop."""
    return False


def test_a_run_is_let_alone_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is tried again."""
    now = 1000.0
    monkeypatch.setattr("steplogd.retention.turned_down.time.monotonic", lambda: now)
    runs = TurnedDown()
    runs.add("r", 10.0)
    found = ["r" in runs, "other" in runs]
    now += 9.9
    found.append("r" in runs)
    now += 0.2
    found.append("r" in runs)

    assert found == [True, False, True, False]


def test_only_so_many_runs_are_let_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that came first are tried again sooner."""
    monkeypatch.setattr(turned_down, "MOST", 2)
    runs = TurnedDown()
    for run_id in ("a", "b", "a", "c"):
        runs.add(run_id)

    assert [run_id in runs for run_id in ("a", "b", "c")] == [True, False, True]


def test_a_home_takes_what_its_files_take(tmp_path: Path) -> None:
    """In all its folders, and nothing that a link leads to."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    for path in (tmp_path / "one", tmp_path / "a" / "b" / "two"):
        path.write_bytes(b"x" * 100_000)
    without = taken_bytes(tmp_path / "a", go_on)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "one")
    folder = (tmp_path / "a" / "b").stat().st_blocks * 512

    assert 100_000 <= without - folder < 110_000
    assert taken_bytes(tmp_path / "a", go_on) - without < 100_000
    assert taken_bytes(tmp_path, go_on) >= without + 100_000
    assert taken_bytes(tmp_path / "absent", go_on) == 0


def test_a_budget_is_reckoned_between_measurements(database: Database, tmp_path: Path) -> None:
    """What is archived counts as freed already, and what was freed as gone."""
    policy = Policy("compress", max_bytes=1)
    budget = Budget(tmp_path, Archived(database), go_on)
    first = budget.excess(policy)
    budget.note_archived(1000)
    after_archived = budget.excess(policy)
    budget.note_done(Done("compress", 1000, 100))

    assert first == budget.taken_bytes + 900 - 1
    assert after_archived == first - 1000
    assert budget.excess(policy) == first - 900
    assert budget.excess(Policy("compress")) == 0


def test_a_budget_that_is_not_met_is_said_once_and_when_it_is(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is looked at."""
    monkeypatch.setattr(budget_module, "MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(budget_module, "_REST", 0)
    budget = Budget(tmp_path, Archived(database), go_on)
    large = tmp_path / "large"
    large.write_bytes(os.urandom(10_000_000))
    policy = Policy("compress", max_bytes=5_000_000)
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            budget.say(policy)
        large.unlink()
        for _ in range(3):
            budget.say(policy)

    assert [entry["log_level"] for entry in said] == ["warning", "info"]
    assert said[0]["bytes"] > said[0]["max_bytes"] == 5_000_000
