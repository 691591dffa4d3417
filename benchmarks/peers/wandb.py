"""W&B offline: `run.log`, read back from its transaction log with its own inspector."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from benchmarks.peers.values import LOSS, TEN

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.values import Tracker

FLUSH_SECONDS: Final = 0.05


def begin(folder: Path, setting: str) -> Tracker:
    """Start a run; "flushed" is the nearest to durable that it has to offer."""
    import wandb

    settings: dict[str, Any] = {"silent": True}
    if setting == "flushed":
        settings["x_transaction_log_flush_interval"] = FLUSH_SECONDS
    made = wandb.Settings(**settings)
    return _Tracker(wandb.init(project="bench", mode="offline", dir=folder, settings=made))


class _Tracker:
    def __init__(self, run: Any) -> None:
        self._run = run

    def one(self, step: int) -> None:
        self._run.log({"loss": LOSS})

    def ten(self, step: int) -> None:
        self._run.log(TEN)

    def finish(self) -> None:
        self._run.finish()


def count(folder: Path, _: str) -> int:
    """Count the records of kind history."""
    logs = list(folder.glob("wandb/offline-run-*/*.wandb"))
    if not logs:
        return 0
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(logs[0])]
    shown = subprocess.run(
        inspect, check=True, stdout=subprocess.PIPE, env={**os.environ, "WANDB_SILENT": "true"}
    )
    return shown.stdout.count(b'"type":"history"')
