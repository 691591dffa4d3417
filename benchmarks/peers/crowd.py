"""Many processes or threads that append to one run at once, or to one file by bare writes.

Imports the standard library and steplog alone.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.peers.bare import BareWrite, LockedWrite
from benchmarks.peers.emitting import begin
from benchmarks.peers.timing import clock_ns, summary, time_calls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.peers.values import Tracker

WARM_UP = 20


def processes(kind: str, folder: Path, count: int, calls: int) -> dict[str, float]:
    """Let so many processes make so many calls each, at once; each has joined the run by itself."""
    go_read, go_write = os.pipe()
    answers = [_fork(kind, folder, calls, go_read, go_write) for _ in range(count)]
    for ready, _ in answers:
        os.read(ready, 1)
    os.close(go_read)
    os.close(go_write)  # every process waits for the end of this pipe
    found = [_read_answer(ready) for ready, _ in answers]
    for _, process in answers:
        os.waitpid(process, 0)
    return _together(found, calls)


def threads(kind: str, folder: Path, count: int, calls: int) -> dict[str, float]:
    """Let so many threads of this process make so many calls each, at once."""
    tracker = _tracker(kind, folder)
    barrier = threading.Barrier(count)
    found: list[dict[str, Any]] = []
    workers = [
        threading.Thread(target=lambda: found.append(_work(tracker, calls, barrier.wait)))
        for _ in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tracker.finish()
    return _together(found, calls)


def _tracker(kind: str, folder: Path) -> Tracker:
    if kind == "steplog":
        return begin("steplog", "default", folder)
    return LockedWrite(folder) if kind == "locked" else BareWrite(folder)


def _fork(kind: str, folder: Path, calls: int, go_read: int, go_write: int) -> tuple[int, int]:
    """Start a process; return where it tells that it is ready and what it found, and its id."""
    read, write = os.pipe()
    process = os.fork()
    if process:
        os.close(write)
        return read, process
    try:
        os.close(go_write)
        tracker = _tracker(kind, folder)
        tracker.one(0)
        os.write(write, b".")
        found = _work(tracker, calls, lambda: os.read(go_read, 1))
        tracker.finish()
        os.write(write, json.dumps(found).encode())
    finally:
        os._exit(0)  # whatever happens: what called us is the parent's to go on with


def _work(tracker: Tracker, calls: int, wait: Callable[[], object]) -> dict[str, Any]:
    overhead = clock_ns()
    time_calls(tracker.one, range(WARM_UP))
    wait()
    start = time.perf_counter_ns()
    taken = time_calls(tracker.one, range(calls))
    return {"start": start, "end": time.perf_counter_ns(), **summary(taken, overhead)}


def _read_answer(descriptor: int) -> dict[str, Any]:
    text = b""
    while part := os.read(descriptor, 65_536):
        text += part
    os.close(descriptor)
    found: dict[str, Any] = json.loads(text)
    return found


def _together(found: list[dict[str, Any]], calls: int) -> dict[str, float]:
    """Return what a call cost all of them together, and one of them in the median."""
    taken = max(one["end"] for one in found) - min(one["start"] for one in found)
    middle = len(found) // 2
    return {
        "together_us": taken / 1e3 / calls / len(found),
        "median_us": sorted(one["median_us"] for one in found)[middle],
        "p99_us": sorted(one["p99_us"] for one in found)[middle],
        "max_us": max(one["max_us"] for one in found),
    }
