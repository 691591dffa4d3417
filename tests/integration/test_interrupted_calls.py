"""Calls that an error interrupts anywhere: nothing hangs, what returned is there once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steplog.events import Leave, Lost
from tests.conftest import DEADLINE_SECONDS, events, is_gapless, numbers, run_program, tracked
from tests.lines import fold

if TYPE_CHECKING:
    from steplogd.core.fold import Fold

INTERRUPTER = Path(__file__).with_name("interrupter.py")


def folded(home: Path) -> Fold:
    """Return what the daemon makes of the spool."""
    return fold((home / "spool" / "r.jsonl").read_bytes())


def interrupt(error: str, call: str) -> tuple[list[int], int]:
    """Interrupt a call at each instruction; return the calls that returned, and how many."""
    done = subprocess.run(
        [sys.executable, str(INTERRUPTER), error, call],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told["returned"], told["instructions"]


@pytest.mark.parametrize("call", ["plain", "rare"])
def test_interrupted_at_any_instruction_it_goes_on(home: Path, call: str) -> None:
    """Ctrl-C between any two instructions costs that call at most: what returned is there once."""
    returned, instructions = interrupt("KeyboardInterrupt", call)

    times = Counter(event.values["i"] for event in tracked(home))
    assert instructions > 50
    assert [] == [i for i in returned if times[i] != 1]
    assert max(times.values()) == 1
    assert is_gapless(numbers(home))
    assert [event.status for event in events(home) if isinstance(event, Leave)] == ["SUCCESS"]


@pytest.mark.parametrize("call", ["plain", "rare"])
@pytest.mark.parametrize("error", ["MemoryError", "RecursionError"])
def test_an_error_at_any_instruction_loses_nothing_untold(
    home: Path, error: str, call: str
) -> None:
    """No memory, or no call left, between any two instructions: there once, or counted as lost."""
    returned, instructions = interrupt(error, call)

    run = folded(home)
    times = Counter(row[-1] for row in run.take_changes().observations if isinstance(row[-1], int))
    there = {event.values["i"] for event in tracked(home)}
    assert instructions > 50
    assert max(times.values()) == 1
    assert times.keys() == there
    assert len(set(returned) - there) <= run.state.lost
    assert run.state.gaps == 0


def test_a_call_at_the_recursion_limit_hangs_nobody(home: Path) -> None:
    """With ever less room on the stack a call counts its loss, and the next one with room goes."""
    done = run_program("""
        import sys, steplog
        run = steplog.start_run("r")
        returned = raised = 0
        def deep(levels, call):
            global returned, raised
            if levels: return deep(levels - 1, call)
            try: call()
            except RecursionError: raised += 1
            else: returned += 1
        for call in (lambda: run.track_this(a=0.5), lambda: run.track({"a": [None]})):
            for levels in range(900, 1000):
                try: deep(levels, call)
                except RecursionError: pass
        run.track({"last": "x"})
        print(returned + 1, raised)
    """)
    returned, raised = map(int, done.stdout.split())

    lost = sum(event.count for event in events(home) if isinstance(event, Lost))
    assert done.returncode == 0
    assert 0 < raised < 20  # where there is no room for any call of anybody's
    assert returned == len(tracked(home)) + lost
    assert tracked(home)[-1].values == {"last": "x"}
    assert is_gapless(numbers(home))


def test_memory_that_runs_out_kills_nobody(home: Path) -> None:
    """With no memory left a call counts its loss; the process lives, and tracks on."""
    done = run_program("""
        import resource, steplog
        run = steplog.start_run("r")
        run.track_this(i=0, a=1); run.track({"i": 0, "t": "x"})
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 8_000_000, size + 8_000_000))
        hog, returned = [], 2
        def fill(*units):
            for unit in units:
                try:
                    while True: hog.append(bytes(unit))
                except MemoryError: pass
        fill(1_000_000, 100_000, 10_000, 1000, 600, 100, 40)
        for i in range(1, 300):
            try: run.track({"i": i, "t": "x" * i * 10, "n": {"a": None}} if i % 2 else {"i": i})
            except MemoryError: continue
            returned += 1
            if i % 10 == 0: fill(600)
        hog.clear()
        run.track_this(i=300)
        print(returned + 1)
    """)

    lost = sum(event.count for event in events(home) if isinstance(event, Lost))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= len(tracked(home)) + lost
    assert tracked(home)[-1].values == {"i": 300}
    assert is_gapless(numbers(home))


@pytest.mark.parametrize("start", range(0, 40, 2))
def test_an_allocation_that_fails_crashes_nothing(home: Path, start: int) -> None:
    """Whichever allocation of a call fails, and some after it: no crash, no hang."""
    pytest.importorskip("_testcapi", reason="this Python has no failing allocator to offer")
    done = run_program(
        """
        import sys, _testcapi, steplog
        run = steplog.start_run("r")
        at = run.outermost
        for call in (lambda: run.writer.track("main", 0, small), lambda: run.track(large)):
            for many in (1, 2, 5):
                small, large, start = {"a": 0.5}, {"a": "x" * 3000, "b": [None]}, int(sys.argv[1])
                _testcapi.set_nomemory(start, start + many)
                try: call()
                except MemoryError: pass
                finally: _testcapi.remove_mem_hooks()
        run.track_this(last=1)
        """,
        str(start),
    )

    assert done.returncode == 0, done.stderr
    assert tracked(home)[-1].values == {"last": 1}
    assert is_gapless(numbers(home))
