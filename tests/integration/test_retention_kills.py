"""The daemon, killed at each step of archiving a spool: nothing is lost, nothing comes twice."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.archives import (
    COMPRESS,
    PROGRAM,
    REMOVE,
    STEPS,
    impatiently,
    lose_store,
    states,
    steps,
    tell,
)
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import configure, rows
from tests.lines import Scribe, append

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("impatient_paths")

PLACES = [
    ("steplogd.retention.archive:Archive.take_out", "before"),
    ("steplogd.retention.archive:_check_folded", "after"),
    ("steplogd.retention.archive:writers_of", "before"),
    ("steplogd.retention.archive:Archive.take_out", "after"),
    ("steplogd.store.archived:write_archived", "after"),
    ("steplogd.store.archived:_set_checkpoint", "after"),
    ("steplogd.store.archived:Archived.archive", "after"),
    ("steplogd.retention.archivist:Archivist.finish", "before"),
    ("steplogd.retention.archive:compress", "before"),
    ("steplogd.retention.compression:_check", "before"),
    ("steplogd.retention.archive:compress", "after"),
    ("steplogd.retention.archive:Archive._sync", "before"),
    ("steplogd.retention.archive:Archive._sync", "after"),
    ("steplogd.retention.archive:Archive.compress", "after"),
    ("steplogd.store.archived:Archived.settle", "after"),
]

LOST_AT = [PLACES[2], PLACES[11], PLACES[13]]
"""Renamed and not told; compressed and still there as it was; compressed and not told."""


@pytest.mark.parametrize(
    ("place", "moment", "is_store_lost"),
    [*((*place, False) for place in PLACES), *((*place, True) for place in LOST_AT)],
)
def test_killed_at_any_step_nothing_is_lost_or_comes_twice(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: str, moment: str, is_store_lost: bool
) -> None:
    """Nor what somebody appends before the next daemon starts; the store may be gone, too."""
    config = configure(home, COMPRESS)
    tell(home)
    monkeypatch.setenv("KILL_AT", f"{place} {moment} 1")
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, "run", "--config", config],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    monkeypatch.delenv("KILL_AT")
    append(home, "r", b"\n", Scribe("late").track(step=STEPS + 1))
    if is_store_lost:
        lose_store(home)
    with impatiently(home, config):
        wait_until(lambda: len(steps(home)) == STEPS + 2 and set(states(home)) == {"compressed"})
        wait_until(lambda: not list((home / "spool").iterdir()))

    assert killed.returncode == -9, killed.stderr
    assert steps(home) == list(range(STEPS + 2))
    assert rows(home, "SELECT repeated, gaps, status FROM run") == [(0, 0, "SUCCESS")]
    lose_store(home)
    with impatiently(home, config):
        wait_until(lambda: len(steps(home)) == STEPS + 2)
    assert steps(home) == list(range(STEPS + 2))


@pytest.mark.parametrize("is_wal_lost", [False, True])
@pytest.mark.parametrize(
    ("place", "moment"),
    [
        ("steplogd.store.archived:Archived.note_removed", "after"),
        ("steplogd.retention.archive:Archive.remove", "before"),
        ("steplogd.retention.archive:Archive.remove", "after"),
    ],
)
def test_killed_around_a_removal_the_run_log_is_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: str, moment: str, is_wal_lost: bool
) -> None:
    """Though somebody joins it again, and even if the store's last commits are lost."""
    config = configure(home, REMOVE)
    tell(home)
    monkeypatch.setenv("KILL_AT", f"{place} {moment} 1")
    subprocess.run(
        [sys.executable, "-c", PROGRAM, "run", "--config", config],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    monkeypatch.delenv("KILL_AT")
    if is_wal_lost:
        (home / "steplog.db-wal").unlink()
    tell(home, w="b", first=STEPS + 1)
    with impatiently(home, config):
        wait_until(lambda: states(home) == ["removed"] * 2)

    assert steps(home) == list(range(2 * STEPS + 2))
