"""Times the calls of a peer in a task's own process, and what else it costs there."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import os
import resource
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.frame import processes
from benchmarks.peers.bare import BareMsgspec, BareWrite
from benchmarks.peers.timing import clock_ns, summary, time_calls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.peers.values import Tracker

# The calls before are those that open files, start threads and fill caches: one for each training.
WARM_UP: Final = 20
BARE_CALLS: Final = 4_000
BLOCKS: Final = 10
_SUBREAPER: Final = 36
_LINGER_SECONDS: Final = 10.0


def emit(peer: str, setting: str, folder: Path, values: int, calls: int, seconds: float) -> Any:
    """Time a bare write, then the peer's calls, each in one go; then let the peer finish."""
    _adopt_orphans()
    overhead, threads = clock_ns(), processes.thread_count(os.getpid())
    bare = time_calls(_call(BareWrite(folder), values), range(BARE_CALLS))
    start = time.perf_counter()
    tracker = begin(peer, setting, folder)
    starting = time.perf_counter() - start
    call, steps = _call(tracker, values), itertools.count()
    time_calls(call, itertools.islice(steps, WARM_UP))
    started = {
        "threads": processes.thread_count(os.getpid()) - threads,
        "processes": len(processes.family(os.getpid())) - 1,
    }
    cpu = _cpu_seconds(living=True)
    taken = time_calls(call, itertools.islice(steps, calls), seconds)
    start = time.perf_counter()
    tracker.finish()
    finishing = time.perf_counter() - start
    _wait_for_children()
    cpu = _cpu_seconds(living=False) - cpu
    return {
        "bare": summary(bare, overhead),
        "peer": summary(taken, overhead) | {"cpu_us": cpu * 1e6 / len(taken)},
        "start_seconds": starting,
        "finish_seconds": finishing,
        **started,
    }


def emit_in_turns(folder: Path, values: int, calls: int) -> Any:
    """Time steplog, a bare write and a bare msgspec encode and write in turns, block by block."""
    overhead = clock_ns()
    trackers: dict[str, Tracker] = {
        "bare": BareWrite(folder),
        "msgspec": BareMsgspec(folder),
        "peer": begin("steplog", "default", folder),
    }
    every = {name: _call(tracker, values) for name, tracker in trackers.items()}
    taken: dict[str, list[int]] = {name: [] for name in every}
    cpu = dict.fromkeys(every, 0)
    for call in every.values():
        time_calls(call, range(WARM_UP))
    for block in range(BLOCKS):
        for name, call in every.items():
            first = WARM_UP + block * (calls // BLOCKS)
            start = time.process_time_ns()
            taken[name] += time_calls(call, range(first, first + calls // BLOCKS))
            cpu[name] += time.process_time_ns() - start
    for tracker in trackers.values():
        tracker.finish()
    return {
        name: summary(taken[name], overhead) | {"cpu_us": cpu[name] / 1e3 / len(taken[name])}
        for name in every
    }


def begin(peer: str, setting: str, folder: Path) -> Tracker:
    """Import the peer and start a run."""
    module: Any = importlib.import_module(f"benchmarks.peers.{peer}")
    tracker: Tracker = module.begin(folder, setting)
    return tracker


def _call(tracker: Tracker, values: int) -> Callable[[int], object]:
    return tracker.one if values == 1 else tracker.ten


def _cpu_seconds(living: bool) -> float:
    """Return the time of all threads and of children that ended; in ticks, of those that live."""
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    own = sum(one.ru_utime + one.ru_stime for one in used)
    if not living:
        return own
    return own + sum(map(processes.own_cpu_seconds, processes.family(os.getpid())[1:]))


def _adopt_orphans() -> None:
    """Have descendants whose parent ends become our children, so that their time is counted."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _wait_for_children() -> None:
    """Wait until all descendants have ended; those that would stay for ever are ended."""
    end = time.monotonic() + _LINGER_SECONDS
    with contextlib.suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
            if time.monotonic() > end:
                processes.kill_family(os.getpid())
