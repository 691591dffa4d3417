"""Neptune Scale offline: `log_metrics`, read back from its file of operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.peers.values import LOSS, TEN

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.values import Tracker

CHUNK_BYTES: Final = 64 * 1024 * 1024


def begin(folder: Path, _: str) -> Tracker:
    """Start a run."""
    from neptune_scale import Run

    run = Run(
        run_id="measured", project="bench/bench", mode="offline", log_directory=str(folder / "log")
    )
    return _Tracker(run)


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
    """Ask its repository for all operations, and count those that append the metric."""
    from neptune_scale.sync.operations_repository import OperationsRepository

    (file,) = (folder / "log").rglob("*.sqlite3")
    repository = OperationsRepository(db_path=file)
    found, last = 0, None
    while operations := repository.get_operations(CHUNK_BYTES, from_exclusive=last):
        found += sum("loss" in getattr(one.operation, "append", ()) for one in operations)
        last = operations[-1].sequence_id
    repository.close(cleanup_files=False)
    return found
