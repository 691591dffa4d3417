"""What tests of every room share: a home of their own, programs to run in it, spools to read."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

from steplog import losses
from steplog.decoding import decode
from steplog.events import Leave, Malformed, Track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from steplog.decoding import AnyEvent

DEADLINE_SECONDS = 120.0
_LONGEST = "tests/torture/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, or one process ends long after the others."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a home of its own, outside of any repository, and no run from outside."""
    for name in list(os.environ):
        if name.upper().startswith(("STEPLOG_", "RUNNABLE_")):
            monkeypatch.delenv(name)
    path = tmp_path / "home"
    monkeypatch.setenv("STEPLOG_HOME", str(path))
    monkeypatch.chdir(tmp_path)  # or each run would tell the commit of this repository
    losses._warned.clear()  # each test sees its own warnings
    yield path
    losses.set_strict(None)


def run_program(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in a process of its own, with the environment of the test."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def start_program(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program, which says on its standard output how far it has come."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition, and fail when it does not come true in time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.002)


def spools(home: Path) -> list[str]:
    """Return the ids of the runs that have a spool."""
    return sorted(path.stem for path in (home / "spool").glob("*.jsonl"))


def events(home: Path, run_id: str | None = None) -> list[AnyEvent]:
    """Return the events of a run; of the only one when not named."""
    if run_id is None:
        (run_id,) = spools(home)
    return decode((home / "spool" / f"{run_id}.jsonl").read_bytes())


def tracked(home: Path, run_id: str | None = None) -> list[Track]:
    """Return what was tracked in a run, in the order of its spool."""
    return [event for event in events(home, run_id) if isinstance(event, Track)]


def numbers(home: Path, run_id: str | None = None) -> dict[str, list[int]]:
    """Return the sequence numbers of each writer of a run, in the order of the spool."""
    by_writer: dict[str, list[int]] = {}
    for event in events(home, run_id):
        assert not isinstance(event, Malformed), f"a line that is none: {event}"
        by_writer.setdefault(event.w, []).append(event.n)
    return by_writer


def is_gapless(by_writer: dict[str, list[int]]) -> bool:
    """Tell whether each writer numbered its lines from 0 on, in their order."""
    return all(found == list(range(len(found))) for found in by_writer.values())


def leaves(home: Path, run_id: str | None = None) -> list[tuple[str, str]]:
    """Return how each process of a run said that it ended."""
    found = events(home, run_id)
    return [(event.status, event.message) for event in found if isinstance(event, Leave)]


def values(home: Path, run_id: str | None = None) -> list[dict[str, Any]]:
    return [event.values for event in tracked(home, run_id)]
