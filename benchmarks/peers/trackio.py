"""Trackio, stored locally: `trackio.log`, read back with its own storage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.peers.values import LOSS, TEN

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.values import Tracker

os.environ["HF_HUB_OFFLINE"] = "1"


def begin(folder: Path, _: str) -> Tracker:
    """Start a run."""
    os.environ["TRACKIO_DIR"] = str(folder / "trackio")
    import trackio

    trackio.init(project="bench", name="measured", embed=False)
    return _Tracker(trackio)


class _Tracker:
    def __init__(self, trackio: Any) -> None:
        self._trackio = trackio

    def one(self, step: int) -> None:
        self._trackio.log({"loss": LOSS})

    def ten(self, step: int) -> None:
        self._trackio.log(TEN)

    def finish(self) -> None:
        self._trackio.finish()


def count(folder: Path, _: str) -> int:
    """Ask its storage for the logs of the run."""
    os.environ["TRACKIO_DIR"] = str(folder / "trackio")
    from trackio.sqlite_storage import SQLiteStorage

    return sum("loss" in log for log in SQLiteStorage.get_logs("bench", "measured"))
