"""Aim: `Run.track` into a local repository, read back with `Repo`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.values import LOSS, TEN

if TYPE_CHECKING:
    from benchmarks.peers.values import Tracker


def begin(folder: Path, _: str) -> Tracker:
    """Start a run."""
    from aim import Run

    run = Run(repo=str(folder))
    (folder / "run_hash").write_text(run.hash, "utf-8")
    return _Tracker(run)


class _Tracker:
    def __init__(self, run: Any) -> None:
        self._run = run

    def one(self, step: int) -> None:
        self._run.track(LOSS, name="loss", step=step)

    def ten(self, step: int) -> None:
        self._run.track(TEN, step=step)

    def finish(self) -> None:
        self._run.close()


def count(folder: Path, _: str) -> int:
    """Index the repository, without which it finds no run, and ask it for the metric of the run."""
    aim = Path(sys.executable).with_name("aim")
    reindex = [str(aim), "storage", "--repo", str(folder), "reindex"]
    subprocess.run(reindex, input=b"y\n", check=True, capture_output=True)
    from aim import Repo

    run = Repo(str(folder)).get_run((folder / "run_hash").read_text("utf-8"))
    found = [metric for metric in run.metrics() if metric.name == "loss"] if run else []
    return sum(len(metric.values.sparse_numpy()[1]) for metric in found)
