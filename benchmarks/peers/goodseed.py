"""goodseed, stored locally: `log_metrics`, read back from its SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.peers.values import LOSS, TEN

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.values import Tracker


def begin(folder: Path, _: str) -> Tracker:
    """Start a run; without `storage` it would want to reach its makers."""
    import goodseed

    return _Tracker(goodseed.Run(storage="local", log_dir=folder, run_id="measured"))


class _Tracker:
    def __init__(self, run: Any) -> None:
        self._run = run

    def one(self, step: int) -> None:
        self._run.log_metrics({"loss": LOSS}, step=step)

    def ten(self, step: int) -> None:
        self._run.log_metrics(TEN, step=step)

    def finish(self) -> None:
        self._run.close()


def count(folder: Path, _: str) -> int:
    """Ask its storage for the points."""
    from goodseed.storage import LocalStorage

    with LocalStorage(folder / "measured.sqlite") as storage:
        return len(storage.get_metric_points("loss"))
