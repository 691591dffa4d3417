"""What a call costs in the training's own process, beside a bare `os.write` of the same line."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from typing import TYPE_CHECKING

import steplog

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 100_000
ROUNDS = 9
TEN = {f"metric_{i}": i / 7 for i in range(10)}


def main() -> None:
    """Alternate between both, and print the medians and their ratio."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["STEPLOG_HOME"] = home
        compare("one value", home, lambda step: steplog.track_this(step=step, loss=0.25))
        compare("ten values", home, lambda step: steplog.track_this(step=step, **TEN))


def compare(name: str, home: str, call: Callable[[int], None]) -> None:
    """Time a call and a bare write of the line that it writes."""
    call(CALLS // 2)
    with open(f"{home}/spool/{steplog.get_run_id()}.jsonl", "rb") as spool:  # noqa: PTH123
        line = spool.readlines()[-1]
    bare_file = os.open(f"{home}/bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    bare, ours = [], []
    for _ in range(ROUNDS):
        bare.append(seconds(lambda _: os.write(bare_file, line)))
        ours.append(seconds(call))
    ratio = statistics.median(ours) / statistics.median(bare)
    print(
        f"{name}: {statistics.median(ours) * 1e6:.2f} µs a call, bare write "
        f"{statistics.median(bare) * 1e6:.2f} µs, ratio {ratio:.2f} "
        f"(median of {ROUNDS} rounds of {CALLS:,} calls)"
    )


def seconds(call: Callable[[int], object]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    for step in range(CALLS):
        call(step)
    return (time.perf_counter() - start) / CALLS


if __name__ == "__main__":
    main()
