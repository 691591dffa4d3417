"""Signals in the middle of tracking: storms, handlers that raise, the keyboard; destructors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steplog.events import Join, Leave, Malformed, Open
from tests.conftest import (
    events,
    is_gapless,
    numbers,
    run_program,
    tracked,
    values,
)

if TYPE_CHECKING:
    from pathlib import Path


STORM = """
    import signal, sys, steplog
    steplog.start_run("r")
    handled = 0
    def handle(number, frame):
        global handled
        handled += 1
        steplog.track_this(step=handled, handled=handled)
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 500e-6, 500e-6)
    tracked = 0
    while handled < 500:
        steplog.track_this(step=tracked, loss=tracked / 7)
        steplog.track({"text": "abc", "nested": {"a": None}}, step=tracked)
        tracked += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(tracked, handled)
"""


def test_storm_of_signals_loses_nothing(home: Path) -> None:
    """A signal handler tracks in the middle of tracking: no deadlock, nothing lost, no gaps."""
    done = run_program(STORM)
    tracked_count, handled_count = map(int, done.stdout.split())
    found = values(home)

    assert done.stderr == ""
    assert sorted(v["handled"] for v in found if "handled" in v) == [*range(1, handled_count + 1)]
    assert len([v for v in found if "loss" in v]) == tracked_count
    assert len([v for v in found if "text" in v]) == tracked_count
    assert is_gapless(numbers(home))
    assert len(numbers(home)) > 1


def test_storm_of_signals_among_threads_loses_nothing(home: Path) -> None:
    """Signal handlers and threads that track at the same time do not wait for one another."""
    done = run_program(
        STORM.replace("tracked = 0", "tracked = 0\n    from threading import Thread\n    stop = []")
        .replace("500e-6", "2e-3")
        .replace(
            "while handled < 500",
            "def work():\n"
            "        while not stop: steplog.track({'w': 'x'})\n"
            "    for _ in range(3): Thread(target=work).start()\n"
            "    while handled < 300",
        )
        .replace("print(", "stop.append(1); print(")
    )

    assert done.stderr == ""
    assert done.stdout
    assert is_gapless(numbers(home))


def test_run_is_left_whatever_a_signal_handler_raised_into(home: Path) -> None:
    """Also twice in a row: the process that joined is the one that leaves."""
    program = """
        import os, signal, steplog
        class Timeout(Exception): pass
        class Slow:
            def __float__(self):
                os.kill(os.getpid(), signal.SIGALRM)
                return 1.0
        def handle(*_): raise Timeout
        def interrupted():
            try: steplog.track_this(x=Slow())
            except Timeout: pass
        signal.signal(signal.SIGALRM, handle)
        steplog.track_this(a=1)
        interrupted(); interrupted()
        steplog.track_this(a=2)
        interrupted()
        steplog.track_this(a=3)
    """
    done = run_program(program)

    opened = [event for event in events(home) if isinstance(event, Open)]
    (joined,) = (event.w for event in events(home) if isinstance(event, Join))
    (left,) = (event.w for event in events(home) if isinstance(event, Leave))
    assert done.returncode == 0
    assert [event.of for event in opened] == ["", *[joined] * (len(opened) - 1)]
    assert left in [event.w for event in opened]
    assert [event.values for event in tracked(home)] == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_exception_of_a_signal_handler_passes_through(home: Path) -> None:
    """A timeout that a handler raises in the middle of tracking reaches the program."""
    done = run_program("""
        import signal, steplog
        steplog.start_run("r")
        def handle(number, frame): raise TimeoutError("time is up")
        signal.signal(signal.SIGALRM, handle)
        seen = 0
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4)
                for step in range(1_000_000):
                    steplog.track_this(step=step, loss=0.5)
                    steplog.track({"text": "abc"}, step=step)
            except TimeoutError:
                seen += 1
        print(seen)
    """)

    assert done.stderr == ""
    assert done.stdout == "300\n"
    assert is_gapless(numbers(home))


def test_interrupts_from_the_keyboard_leave_a_spool_that_reads(home: Path) -> None:
    """Interrupted again and again, a process goes on under numbers without gaps."""
    done = run_program("""
        import signal, steplog, threading
        steplog.start_run("r")
        stop = []
        def work():
            while not stop: steplog.track_this(other=1)
        thread = threading.Thread(target=work); thread.start()
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4)
                while True: steplog.track({"loss": 0.5, "text": None})
            except KeyboardInterrupt:
                pass
        stop.append(1)
        thread.join()
        print("done")
    """)

    assert done.stderr == ""
    assert done.stdout == "done\n"
    assert is_gapless(numbers(home))
    assert not [event for event in events(home) if isinstance(event, Malformed)]


def test_destructors_track_in_the_middle_of_tracking(home: Path) -> None:
    """A destructor that the collector runs during a call of ours tracks, and waits for nobody."""
    done = run_program("""
        import gc, steplog
        gc.set_threshold(5)
        steplog.start_run("r")
        class Loop:
            made = 0
            def __init__(self):
                self.me = self
                Loop.made += 1
            def __del__(self): steplog.track_this(died=1)
        class Value(float):
            def __float__(self):
                Loop(), Loop(), gc.collect()
                return 1.5
        for step in range(200):
            steplog.track({"value": Value(0)}, step=step)
        gc.collect()
        print(Loop.made)
    """)

    assert done.stderr == ""
    assert len([v for v in values(home) if "died" in v]) == int(done.stdout) >= 400
    assert len([v for v in values(home) if v.get("value") == 1.5]) == 200
    assert is_gapless(numbers(home))


def test_nested_writers_belong_to_the_one_that_joined(home: Path) -> None:
    """A line written in the middle of another says whose it is, so that it is no stranger's."""
    run_program("""
        import steplog
        steplog.start_run("r")
        class Value(float):
            def __float__(self):
                steplog.track_this(inner=1)
                return 0.5
        steplog.track_this(outer=Value(0.5))
    """)
    joined = next(event.w for event in events(home) if isinstance(event, Join))
    others = [e for e in events(home) if isinstance(e, Open) and e.w != joined]

    assert [event.of for event in others] == [joined] * len(others) != []
    assert {"inner": 1} in values(home)
    assert {"outer": 0.5} in values(home)
