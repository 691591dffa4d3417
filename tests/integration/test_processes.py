"""Real processes on one run: threads, forks, pools, signals, kills, and how each of them ends."""

from __future__ import annotations

import functools
import signal
from typing import TYPE_CHECKING

import pytest

from steplog.decoding import decode
from steplog.events import Malformed, Open, Start, Track
from tests.conftest import (
    events,
    is_gapless,
    leaves,
    numbers,
    run_program,
    spools,
    start_program,
    tracked,
    values,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path


# --- many at once -----------------------------------------------------------------------------


THREADS = """
    import sys, threading, steplog
    sys.setswitchinterval(1e-5)
    run = steplog.start_run("r")
    def work(k):
        for i in range(400):
            steplog.track_this(step=i, loss=i / 7, k=k)
            steplog.track({"text": "x" * (i * 13 % 5000), "k": k}, step=i)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_four_processes_of_four_threads_lose_and_mix_nothing(home: Path) -> None:
    """Four processes of four threads each share one spool: every line whole, numbers gapless."""
    programs = [start_program(THREADS) for _ in range(4)]
    assert [program.wait() for program in programs] == [0, 0, 0, 0]
    for program in programs:
        program.communicate()

    assert len(tracked(home)) == 4 * 4 * 800
    assert len(numbers(home)) == 4
    assert is_gapless(numbers(home))


def test_threads_that_track_first_at_once_share_one_run(home: Path) -> None:
    """Of several threads that track before there is a run, one starts it and all are in it."""
    done = run_program("""
        import sys, threading, steplog
        sys.setswitchinterval(1e-6)
        gate = threading.Barrier(8)
        def work():
            gate.wait()
            steplog.track_this(loss=0.5)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """)

    assert done.stderr == ""
    assert len(spools(home)) == 1
    assert len(tracked(home)) == 8


def test_processes_that_need_a_run_id_at_once_get_different_ones(home: Path) -> None:
    """Processes that make up a run id at the same moment never meet in one run."""
    programs = [start_program("import steplog; steplog.track_this(a=1)") for _ in range(12)]
    for program in programs:
        program.communicate()

    assert len(spools(home)) == 12


def test_coroutines_each_track_into_their_own_task(home: Path) -> None:
    """Coroutines that run side by side, each in its own task, do not mix."""
    done = run_program("""
        import asyncio, steplog
        async def work(name):
            with steplog.task(name):
                for step in range(20):
                    steplog.track_this(step=step, who=name)
                    await asyncio.sleep(0)
        async def main():
            await asyncio.gather(*(work(f"task-{k}") for k in range(10)))
        asyncio.run(main())
    """)

    assert done.stderr == ""
    assert len(tracked(home)) == 200
    assert all(event.task == event.values["who"] for event in tracked(home))


# --- how a process ends -----------------------------------------------------------------------


ENDINGS = {
    "falls off its end": ("pass", "SUCCESS", ""),
    "exits without a status": ("sys.exit()", "SUCCESS", ""),
    "exits with 0": ("sys.exit(0)", "SUCCESS", ""),
    "exits with 1": ("sys.exit(1)", "FAIL", "exit status 1"),
    "exits with a text": ("sys.exit('no data')", "FAIL", "exit status no data"),
    "raises": ("1 / 0", "FAIL", "ZeroDivisionError: division by zero"),
    "raises without a text": ("raise KeyError", "FAIL", "KeyError"),
    "is interrupted": ("raise KeyboardInterrupt", "FAIL", "KeyboardInterrupt"),
    "quits with 2": ("quit(2)", "FAIL", "exit status 2"),
    "calls exit": ("exit()", "SUCCESS", ""),
    "has an exit caught": ("try: sys.exit(1)\nexcept SystemExit: pass", "SUCCESS", ""),
    "has a bad argument caught": (
        (
            "import argparse\ntry: argparse.ArgumentParser().parse_args(['--no'])\n"
            "except SystemExit: pass"
        ),
        "SUCCESS",
        "",
    ),
    "has a bad argument": (
        "import argparse\nargparse.ArgumentParser().parse_args(['--no'])",
        "FAIL",
        "exit status 2",
    ),
    "raises while it exits": (
        "try: sys.exit(0)\nfinally: raise ValueError('cleanup')",
        "FAIL",
        "ValueError: cleanup",
    ),
    "raises under another excepthook": (
        "sys.excepthook = lambda *_: None\nraise ValueError('hidden')",
        "FAIL",
        "ValueError: hidden",
    ),
    "shows an exception that it caught": (
        "try: 1 / 0\nexcept ZeroDivisionError: sys.excepthook(*sys.exc_info())",
        "SUCCESS",
        "",
    ),
    "raises with a text that is broken": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "FAIL",
        "Odd",
    ),
    "raises with half a character": ("raise ValueError(chr(0xdc80))", "FAIL", "ValueError: \udc80"),
    "raises in a thread": (
        (
            "import threading\nthreading.excepthook = lambda _: None\n"
            "t = threading.Thread(target=lambda: 1 / 0)\nt.start(); t.join()"
        ),
        "SUCCESS",
        "",
    ),
    "exits a thread": (
        "import threading\nt = threading.Thread(target=sys.exit, args=(1,))\nt.start(); t.join()",
        "SUCCESS",
        "",
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_leaves_as_it_ended(home: Path, ending: str) -> None:
    """A process leaves its run with what its end says of it."""
    code, status, message = ENDINGS[ending]
    run_program(f"import sys, steplog\nsteplog.track_this(a=1)\n{code}")

    assert leaves(home) == [(status, message)]


def test_exit_that_a_thread_started_is_seen(home: Path) -> None:
    """Who catches an exit ends well, also when the run was started by another thread."""
    run_program("""
        import sys, threading, steplog
        thread = threading.Thread(target=steplog.start_run, args=("r",))
        thread.start(); thread.join()
        try: sys.exit(1)
        except SystemExit: pass
    """)

    assert leaves(home) == [("SUCCESS", "")]


@pytest.mark.parametrize(
    ("code", "leave"),
    [
        ("sys.exit(1)", ("FAIL", "exit status 1")),
        ("sys.exit(0)", ("SUCCESS", "")),
        ("raise SystemExit(2)", ("FAIL", "exit status 2")),
        ("raise KeyboardInterrupt", ("FAIL", "KeyboardInterrupt")),
    ],
)
def test_exit_within_a_run_is_its_outcome(home: Path, code: str, leave: tuple[str, str]) -> None:
    """An exit that leaves the block of a run is the run's outcome, and it is said once."""
    run_program(f"import sys, steplog\nwith steplog.start_run('r'):\n    {code}")

    assert leaves(home) == [leave]


def test_hard_exit_keeps_what_was_tracked(home: Path) -> None:
    """`os._exit` loses nothing that was tracked; nobody says that the process left."""
    run_program("import os, steplog\nsteplog.track_this(a=1)\nos._exit(0)")

    assert values(home) == [{"a": 1}]
    assert leaves(home) == []


def test_tracking_while_the_process_ends_goes_to_its_run(home: Path) -> None:
    """Exit handlers that run before and after ours, and destructors, track into the same run."""
    done = run_program("""
        import atexit, steplog
        class Late:
            def __del__(self): steplog.track_this(late=3)
        atexit.register(lambda: steplog.track_this(after=2))
        steplog.track_this(first=0)
        atexit.register(lambda: steplog.track_this(before=1))
        late = Late()
    """)

    assert done.stderr == ""
    assert values(home)[:3] == [{"first": 0}, {"before": 1}, {"after": 2}]
    assert leaves(home) == [("SUCCESS", "")]
    assert is_gapless(numbers(home))


def test_run_that_an_exit_handler_ends_is_left_once(home: Path) -> None:
    """A program that ends its run only after we left it for it does not leave it twice."""
    run_program("""
        import atexit, steplog
        atexit.register(lambda: run.end("FAIL", "too late"))
        run = steplog.start_run("r")
    """)

    assert leaves(home) == [("SUCCESS", "")]


def test_run_that_an_exit_handler_starts_is_left(home: Path) -> None:
    """A run that begins only while the process ends is left too, or it would look killed."""
    done = run_program("""
        import atexit, steplog
        atexit.register(lambda: steplog.track_this(a=1))
        with steplog.start_run("done"): pass
    """)
    (other,) = set(spools(home)) - {"done"}

    assert done.stderr == ""
    assert values(home, other) == [{"a": 1}]
    assert leaves(home, other) == [("SUCCESS", "")]


# --- killed -----------------------------------------------------------------------------------


def _is_larger(spool: Path, size_bytes: int) -> bool:
    return spool.exists() and spool.stat().st_size > size_bytes


def test_kill_in_the_middle_of_a_write_costs_one_line(home: Path) -> None:
    """SIGKILL leaves at most one torn line, and the next writer's lines are all recovered."""
    program = """
        import steplog
        run = steplog.start_run("r")
        while True: run.track({"text": "x" * 200_000})
    """
    spool = home / "spool" / "r.jsonl"
    for _ in range(5):
        before = spool.stat().st_size if spool.exists() else 0
        victim = start_program(program)
        wait_until(functools.partial(_is_larger, spool, before + 3_000_000))
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
    run_program("import steplog\nwith steplog.start_run('r') as run: run.track_this(last=1)")

    assert len([event for event in events(home) if isinstance(event, Malformed)]) <= 5
    assert len([event for event in events(home) if isinstance(event, Open)]) == 6
    assert {"last": 1} in values(home)


def test_torn_line_of_a_killed_writer_spoils_no_living_one(home: Path) -> None:
    """A line that a living writer appends to a torn one is recovered, and nothing is invented."""
    with_torn = b'{"t":"track","w":"dead","n":7,"ts":1,"values":{"loss":0.'
    run_program(
        """
        import sys, steplog
        run = steplog.start_run("r")
        run.track_this(step=1, a=1)
        with open(sys.argv[1], "ab") as spool: spool.write(sys.argv[2].encode())
        run.track_this(step=2, a=2)
        """,
        str(home / "spool" / "r.jsonl"),
        with_torn.decode(),
    )

    assert [event.step for event in tracked(home)] == [1, 2]
    assert [e.line for e in events(home) if isinstance(e, Malformed)] == [with_torn]


def test_process_that_closed_all_descriptors_goes_on(home: Path) -> None:
    """A process that closes every descriptor, as daemons do, opens its spool again."""
    done = run_program("""
        import os, steplog
        steplog.start_run("r")
        steplog.track_this(step=1, a=1)
        os.closerange(3, 200)
        steplog.track_this(step=2, a=1)
        steplog.track_this(step=3, a=1)
    """)

    assert done.stderr == ""
    assert [event.step for event in tracked(home)] == [1, 2, 3]


def test_children_find_the_run_and_the_task(home: Path) -> None:
    """A program that a run starts is in that run, without being told."""
    run_program("""
        import subprocess, sys, steplog
        with steplog.start_run("r"):
            subprocess.run([sys.executable, "-c", "import steplog; steplog.track_this(child=1)"])
    """)

    assert spools(home) == ["r"]
    assert values(home) == [{"child": 1}]
    assert len(leaves(home)) == 2


def test_started_task_stands_in_the_spool(home: Path) -> None:
    """What a program says of its tasks reads back in the order in which it happened."""
    run_program("""
        import steplog
        with steplog.task("train", {"rate": 0.5}):
            steplog.track_this(step=1, loss=0.25)
    """)
    kinds = [type(event).__name__ for event in events(home)]
    starts = [event for event in events(home) if isinstance(event, Start)]

    assert kinds == ["Open", "Join", "Start", "Track", "End", "Leave"]
    assert [(start.task, start.parameters) for start in starts] == [("train", {"rate": 0.5})]
    assert decode(b"") == []
    assert all(isinstance(event, Track) for event in tracked(home))
