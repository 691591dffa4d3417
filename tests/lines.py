"""Lines of spools, as writers append them, and what folding them gives: for tests."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from steplog.decoding import decode
from steplogd.core.fold import Fold
from steplogd.core.state import RunState

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.core.state import Row

ARRIVED_TS = 1_700_000_000_000_000

_clock = itertools.count(1_600_000_000_000_000, 1_000)


class Scribe:
    """Writes the lines of one writer: numbered, and at rising times."""

    def __init__(self, w: str = "a") -> None:
        self.w = w
        self._n = itertools.count()

    def line(self, kind: str, **fields: Any) -> bytes:
        """Return the writer's next line."""
        return line(kind, w=self.w, n=next(self._n), ts=next(_clock), **fields)

    def track(self, step: int = 0, task: str = "train", **values: Any) -> bytes:
        """Return a line that tracks values."""
        return self.line("track", task=task, step=step, values=values or {"loss": 0.5})


def line(kind: str, **fields: Any) -> bytes:
    """Return a line with just these fields."""
    return json.dumps({"t": kind, **fields}, separators=(",", ":")).encode() + b"\n"


def fold(*lines: bytes, into: Fold | None = None) -> Fold:
    """Fold lines into a new run, or further into one."""
    folding = into or Fold(RunState("r"))
    folding.apply(decode(b"".join(lines)), ARRIVED_TS)
    return folding


def rows(folding: Fold) -> list[Row]:
    """Return the observations since the last call."""
    return folding.take_changes().observations


def columns(folding: Fold) -> list[Any]:
    """Return just the values of the observations since the last call."""
    return [row[-1] for row in rows(folding)]


def append(home: Path, run_id: str, *lines: bytes) -> Path:
    """Append to a spool as somebody who holds no lock."""
    path = home / "spool" / f"{run_id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as spool:
        spool.write(b"".join(lines))
    return path
