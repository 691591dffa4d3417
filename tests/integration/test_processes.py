"""Real processes on one run: threads, forks, pools, signals, kills, and how each of them ends."""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from steplog.decoding import decode
from steplog.events import Join, Leave, Malformed, Open, Start, Track
from tests.conftest import (
    DEADLINE_SECONDS,
    events,
    is_gapless,
    numbers,
    run_program,
    spools,
    start_program,
    tracked,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path


def leaves(home: Path, run_id: str | None = None) -> list[tuple[str, str]]:
    """Return how each process of a run said that it ended."""
    found = events(home, run_id)
    return [(event.status, event.message) for event in found if isinstance(event, Leave)]


def values(home: Path, run_id: str | None = None) -> list[dict[str, Any]]:
    return [event.values for event in tracked(home, run_id)]


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


# --- forks and workers ------------------------------------------------------------------------


def test_forked_child_is_a_writer_of_its_own(home: Path) -> None:
    """A child forked while threads track has its own writer id and numbers, and loses nothing."""
    done = run_program("""
        import os, threading, steplog, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        steplog.start_run("r")
        stop = threading.Event()
        def work():
            while not stop.is_set():
                steplog.track_this(loss=0.5)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for child in range(20):
            if not (pid := os.fork()):
                for step in range(10): steplog.track_this(step=step, child=child)
                os._exit(0)
            os.waitpid(pid, 0)
        stop.set()
        for thread in threads: thread.join()
    """)

    assert done.stderr == ""
    assert len([found for found in values(home) if "child" in found]) == 200
    assert len(numbers(home)) == 21
    assert is_gapless(numbers(home))


def test_forked_child_does_not_keep_its_parents_lock(home: Path) -> None:
    """A child that outlives its parent does not make the parent's run look alive."""
    parent = start_program("""
        import os, sys, steplog
        steplog.start_run("r")
        if os.fork(): os._exit(0)
        print(os.getpid(), flush=True)
        sys.stdin.read()
        os._exit(0)
    """)
    assert parent.stdout is not None
    parent.stdout.readline()

    spool = os.open(home / "spool" / "r.jsonl", os.O_RDONLY)
    try:
        wait_until(lambda: _is_unlocked(spool))
    finally:
        os.close(spool)
        parent.communicate()


def _is_unlocked(spool: int) -> bool:
    try:
        fcntl.flock(spool, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_forked_child_that_tracks_nothing_says_nothing(home: Path) -> None:
    """A child that never tracks is not in the run, and does not leave it either."""
    run_program("""
        import os, sys, steplog
        steplog.start_run("r")
        if not (pid := os.fork()): sys.exit(3)
        os.waitpid(pid, 0)
    """)

    assert leaves(home) == [("SUCCESS", "")]


WORKERS = """
    import multiprocessing, sys, steplog
    def work(k):
        steplog.track_this(step=k, square=k * k)
        if k == 99: raise ValueError("a bad worker")
    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        steplog.start_run("r")
        workers = [context.Process(target=work, args=(k,)) for k in map(int, sys.argv[2:])]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
"""


def run_script(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program from a file, as spawned workers need to import it."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_start_method_are_in_the_run(
    home: Path, tmp_path: Path, method: str
) -> None:
    """Workers track into their parent's run, say that they are workers, and leave it."""
    done = run_script(tmp_path, WORKERS, method, "0", "1", "2")

    assert done.stderr == ""
    assert sorted(found["square"] for found in values(home)) == [0, 1, 4]
    assert sorted(event.worker for event in events(home) if isinstance(event, Open)) == (
        [False, True, True, True]
    )
    assert leaves(home) == 4 * [("SUCCESS", "")]
    assert is_gapless(numbers(home))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_that_raises_leaves_as_failed(home: Path, tmp_path: Path, method: str) -> None:
    """A worker that ends with an exception says so when it leaves."""
    run_script(tmp_path, WORKERS, method, "99")

    assert leaves(home) == [("FAIL", "ValueError: a bad worker"), ("SUCCESS", "")]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_with_a_run_of_its_own_says_how_it_failed(
    home: Path, tmp_path: Path, method: str
) -> None:
    """A worker of a parent without a run starts one, and leaves it with its own outcome."""
    run_script(tmp_path, WORKERS.replace('steplog.start_run("r")', "pass"), method, "99")

    assert leaves(home) == [("FAIL", "ValueError: a bad worker")]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_terminated_pool_loses_nothing_that_was_tracked(
    home: Path, tmp_path: Path, method: str
) -> None:
    """What workers of a pool tracked before it was terminated is all there."""
    done = run_script(
        tmp_path,
        """
        import multiprocessing, sys, steplog
        def work(k):
            steplog.track_this(step=k, square=k * k)
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            with steplog.start_run("r"), context.Pool(3) as pool:
                pool.map(work, range(50), chunksize=1)
        """,
        method,
    )

    assert done.stderr == ""
    assert sorted(found["square"] for found in values(home)) == [k * k for k in range(50)]
    assert ("SUCCESS", "") in leaves(home)
    assert is_gapless(numbers(home))


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


# --- interrupted ------------------------------------------------------------------------------


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
