"""A daemon that archives finished runs at once, and what is seen of what it does: for tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import arrivals, rows, serving
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.zygote import Process

_INTEGRATION = Path(__file__).parent / "integration"
PROGRAM = "from tests.integration.impatient import run; run()"
COMPRESS = '[retention]\naction = "compress"\nafter_days = 0\n'
REMOVE = COMPRESS.replace("compress", "remove")
FILE = '[[backend]]\ntype = "file"\n'
STEPS = 50


@pytest.fixture
def impatient_paths(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the daemon find the tests' programs, and a backend that is not ours."""
    root = str(_INTEGRATION.parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, str(_INTEGRATION / "third_party")]))
    monkeypatch.setenv("COUNT_ROUNDS", str(home.parent / "rounds"))


def tell(home: Path, run_id: str = "r", w: str = "a", first: int = 0) -> None:
    """Write the spool of a run that is over: numbered lines, those of a visitor, and a torn one."""
    a = Scribe(w)
    begin = [a.line("open"), a.line("join", tag="t")]
    tracks = [a.track(step=first + step, loss=step / 7) for step in range(STEPS)]
    visitor = line("track", step=first + STEPS, task="train", values={"loss": 0.5})
    append(home, run_id, *begin, *tracks, visitor, a.line("leave"), b'{"t":"track","va')


def steps(home: Path, run_id: str = "r") -> list[int]:
    """Return the steps of a run's observations, in their order."""
    number = f"(SELECT run_no FROM run WHERE run_id = '{run_id}')"
    sql = f"SELECT step FROM observation WHERE run_no = {number} ORDER BY position"
    return [step for (step,) in rows(home, sql)]


def archived(home: Path) -> list[str]:
    """Return the names of all that is archived."""
    return sorted(path.name for path in (home / "archive").glob("*"))


def states(home: Path) -> list[str]:
    """Return what became of the archived spools."""
    return [state for (state,) in rows(home, "SELECT state FROM archived ORDER BY run_no, number")]


def lose_store(home: Path) -> None:
    """Delete the store."""
    for path in home.glob("steplog.db*"):
        path.unlink()


def log_of(home: Path, event: str | None) -> list[dict[str, Any]]:
    """Return what the daemon said of an event, or all."""
    said = (home.parent / f"{home.name}.log").read_text().splitlines()
    return [entry for entry in map(json.loads, said) if event in (entry["event"], None)]


def impatiently(home: Path, config: str) -> AbstractContextManager[Process]:
    """Serve with short rests."""
    return serving(home, "run", "--config", config, program=PROGRAM)


def arrived(home: Path) -> list[int]:
    """Return the steps that the backend got, in their order."""
    path = home / "arrived.jsonl"
    lines = list(arrivals(path)) if path.exists() else []
    return [told["step"] for told in lines if told.get("step") is not None]


def rounds(home: Path) -> int:
    """Return how often the daemon has looked what is to be archived."""
    path = home.parent / "rounds"
    return path.stat().st_size if path.exists() else 0
