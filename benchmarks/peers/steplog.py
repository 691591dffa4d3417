"""steplog without a daemon: `track_this`, or `track` for a dict; read back by `steplogd drain`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.values import LOSS, TEN

if TYPE_CHECKING:
    from benchmarks.peers.values import Tracker


def begin(folder: Path, _: str) -> Tracker:
    """Start a run."""
    os.environ["STEPLOG_HOME"] = str(folder / "home")
    import steplog

    return _Tracker(steplog, steplog.start_run("measured"))


class _Tracker:
    def __init__(self, steplog: Any, run: Any) -> None:
        self._run = run.__enter__()
        self._track_this, self._track = steplog.track_this, steplog.track

    def one(self, step: int) -> None:
        self._track_this(step=step, loss=LOSS)

    def ten(self, step: int) -> None:
        self._track(TEN, step=step)  # as the others are given a dict that is there already

    def finish(self) -> None:
        self._run.__exit__(None, None, None)


def count(folder: Path, _: str) -> int:
    """Fold what is there, and count the steps that have a loss."""
    environment = {**os.environ, "STEPLOG_HOME": str(folder / "home")}
    drain = [sys.executable, "-m", "steplogd", "drain"]
    subprocess.run(drain, env=environment, check=True, capture_output=True)
    show = [str(Path(sys.executable).with_name("steplog")), "show", "measured", "--json"]
    shown = subprocess.run(show, env=environment, check=True, stdout=subprocess.PIPE)
    return len(json.loads(shown.stdout)["steps"]["main"]["user_defined_metrics"]["loss"])
