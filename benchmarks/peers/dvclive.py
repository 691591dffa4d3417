"""DVCLive: `log_metric` and `next_step`, or the step set by hand; read back from its TSV file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.peers.values import LOSS, TEN

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.values import Tracker

os.environ["DVC_NO_ANALYTICS"] = "true"


def begin(folder: Path, setting: str) -> Tracker:
    """Open a logger; by hand, the summary is made at the end and not at each step."""
    import dvclive

    # An experiment of DVC would need a repository of Git, which this folder is not in.
    live = dvclive.Live(str(folder / "live"), save_dvc_exp=False)
    return _ByHand(live) if setting == "by hand" else _Tracker(live)


class _Tracker:
    def __init__(self, live: Any) -> None:
        self._live = live

    def one(self, step: int) -> None:
        self._live.log_metric("loss", LOSS)
        self._live.next_step()

    def ten(self, step: int) -> None:
        for name, one in TEN.items():
            self._live.log_metric(name, one)
        self._live.next_step()

    def finish(self) -> None:
        self._live.end()


class _ByHand(_Tracker):
    def one(self, step: int) -> None:
        self._live.step = step
        self._live.log_metric("loss", LOSS)

    def ten(self, step: int) -> None:
        self._live.step = step
        for name, one in TEN.items():
            self._live.log_metric(name, one)


def count(folder: Path, _: str) -> int:
    """Count the whole lines below the head."""
    file = folder / "live" / "plots" / "metrics" / "loss.tsv"
    return max(file.read_bytes().count(b"\n") - 1, 0) if file.exists() else 0
