"""What the stages count while they work: plain numbers, which the metrics endpoint reads."""

from __future__ import annotations

import bisect
import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steplogd.core.state import RunState
    from steplogd.folding.run_news import Standing

COMMIT_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""The bounds that commits are counted between: on a fast disk one takes a millisecond, and one
that waits for a slow disk or a lock may take seconds."""


class Histogram:
    """Counts durations between bounds; for one thread at a time to write, for any to read.

    Args:
        bounds: The longest duration of each count but the last, in seconds, rising.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_seconds = 0.0

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Count how long the block takes, though it may raise."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(time.perf_counter() - began)

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.sum_seconds += seconds


class LineMeter:
    """What was committed since the daemon started; for one thread to write, for any to read.

    Attributes:
        bytes: Of spools.
        observations: How many were folded.
        begun: Runs.
        ended: Runs, by their status.
        lost: Calls that writers could not record, and lines that are missing.
        set_aside: Pieces of spools that are no event.
        commits: How long each took.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.observations = 0
        self.begun = 0
        self.ended = {"SUCCESS": 0, "FAIL": 0}
        self.lost = 0
        self.set_aside = 0
        self.commits = Histogram(COMMIT_SECONDS)

    def count(self, before: Standing, now: Standing, state: RunState, size_bytes: int) -> None:
        """Count what became of a run, now that it is committed.

        Args:
            before: How it stood then.
            now: How it stands.
            state: What it is.
            size_bytes: How much of its spool was folded.
        """
        self.bytes += size_bytes
        self.observations += now.observations - before.observations
        self.lost += now.lost - before.lost
        self.set_aside += now.set_aside - before.set_aside
        self.begun += before.phase == "unheard" != now.phase
        if before.phase != "ended" == now.phase:
            self.ended[state.status] = self.ended.get(state.status, 0) + 1


class BackendMeters(msgspec.Struct, frozen=True):
    """What is known of one backend without asking the store.

    Attributes:
        name: What its cursors go by.
        sent: Observations that it took since the daemon started.
        refused: Observations, and states of runs, that it refused.
        retries: How often a batch was to be tried again.
        behind: The numbers of the runs that are not delivered; None before it was looked for them.
    """

    name: str
    sent: int
    refused: int
    retries: int
    behind: list[int] | None


class Meters(msgspec.Struct, frozen=True):
    """What is known of a daemon that serves without asking the store.

    Attributes:
        line: What was folded.
        open_runs: How many runs go on.
        left_bytes: Of spools that are not folded yet.
        unreadable: How many spools cannot be folded now.
        troubles: How much is tried again all the time: to list spools, to commit, say.
        swept_bytes: Of spools that no notification told of.
        free_bytes: What is left of the disk.
        min_free_bytes: What is left of it to tasks.
        backends: All that are configured.
    """

    line: LineMeter
    open_runs: int
    left_bytes: int
    unreadable: int
    troubles: int
    swept_bytes: int
    free_bytes: int
    min_free_bytes: int
    backends: list[BackendMeters]
