"""Runs that ended lately: kept in memory for who comes back to one."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

R = TypeVar("R")

MOST_BYTES: Final = 4 * 1024 * 1024
"""What they may take together; those that ended first go first."""

RUN_BYTES: Final = 4096
"""About what a run takes beside its keys, tasks and writers."""


class RecentRuns(Generic[R]):
    """Keeps runs by their id, the last ones that there is room for.

    What a run had is loaded with all its writers and attempts. Where a thousand processes come to
    one run, one after the other, each would wait for all that were there before it.
    """

    def __init__(self) -> None:
        self._runs: dict[str, tuple[R, int]] = {}  # the one that ended first comes first
        self._size_bytes = 0

    def keep(self, run_id: str, run: R, weight: int) -> None:
        """Keep a run that is committed as it is; its weight in bytes, as the fold knows it."""
        self.take(run_id)
        self._runs[run_id] = run, weight + RUN_BYTES
        self._size_bytes += weight + RUN_BYTES
        while self._size_bytes > MOST_BYTES:
            self.take(next(iter(self._runs)))

    def take(self, run_id: str) -> R | None:
        """Return a run, which is not kept any more; None if it was not."""
        run, size_bytes = self._runs.pop(run_id, (None, 0))
        self._size_bytes -= size_bytes
        return run
