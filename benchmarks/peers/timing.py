"""Times single calls; imports the standard library alone."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_clock: Final = time.perf_counter_ns
# Below this many calls a percentile says nothing but how the highest few came out.
LEAST_CALLS: Final = {"median_us": 1, "p99_us": 200, "p999_us": 2_000}
SHARES: Final = {"median_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}


def time_calls(
    call: Callable[[int], object], steps: Iterable[int], seconds: float = math.inf
) -> list[int]:
    """Return the nanoseconds of each call, one for each step, until the time is over."""
    end = _clock() + seconds * 1e9
    taken = []
    for step in steps:
        start = _clock()
        call(step)
        now = _clock()
        taken.append(now - start)
        if now > end:
            break
    return taken


def clock_ns() -> int:
    """Return what reading the clock twice takes: it is in every measure of `time_calls`."""
    taken = []
    for _ in range(10_000):
        start = _clock()
        taken.append(_clock() - start)
    return sorted(taken)[len(taken) // 2]


def summary(taken: list[int], overhead_ns: int) -> dict[str, float]:
    """Return the percentiles of calls in microseconds, as far as there are enough of them."""
    ordered = sorted(taken)
    found: dict[str, float] = {"calls": len(ordered)}
    for name, share in SHARES.items():
        if len(ordered) >= LEAST_CALLS[name]:
            rank = math.ceil(round(share * len(ordered), 6))
            found[name] = max(ordered[rank - 1] - overhead_ns, 0) / 1e3
    found["max_us"] = max(ordered[-1] - overhead_ns, 0) / 1e3
    found["mean_us"] = max(sum(ordered) / len(ordered) - overhead_ns, 0) / 1e3
    return found
