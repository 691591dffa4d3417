"""All the ways to start and to end a process: what returned is there once, and nobody hangs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from steplog.events import Leave, Lost, Open
from tests.conftest import (
    DEADLINE_SECONDS,
    events,
    is_gapless,
    numbers,
    run_program,
    start_program,
    tracked,
    wait_until,
)
from tests.daemon import configure, document, rows, serving, steplogd

if TYPE_CHECKING:
    from pathlib import Path


def values(home: Path) -> list[dict[str, Any]]:
    """Return what was tracked, in the order of the spool."""
    return [event.values for event in tracked(home)]


def drained(home: Path, run_id: str = "r") -> dict[str, Any]:
    """Let a daemon fold and end the run; return its document."""
    done = steplogd("drain", "--config", configure(home))
    assert done.returncode == 0, done.stderr
    return document(home, run_id)


# --- forked, and started ----------------------------------------------------------------------


def test_threads_fork_while_threads_track(home: Path) -> None:
    """Children that threads fork, in the middle of what others track, are writers of their own."""
    done = run_program("""
        import os, sys, threading, warnings, steplog
        warnings.simplefilter("ignore", DeprecationWarning)
        sys.setswitchinterval(1e-5)
        steplog.start_run("r")
        stop = threading.Event()
        tracked = [0, 0]
        def work(k):
            while not stop.is_set():
                steplog.track({"by": k, "text": "x" * 3000})
                tracked[k] += 1
        def fork(k):
            for child in range(10):
                if not (pid := os.fork()):
                    for step in range(5): steplog.track_this(step=step, child=[k, child])
                    os._exit(0)
                os.waitpid(pid, 0)
        workers = [threading.Thread(target=work, args=(k,)) for k in range(2)]
        forkers = [threading.Thread(target=fork, args=(k,)) for k in range(2)]
        for thread in workers + forkers: thread.start()
        for thread in forkers: thread.join()
        stop.set()
        for thread in workers: thread.join()
        print(sum(tracked))
    """)

    found = values(home)
    assert done.stderr == ""
    assert len([one for one in found if "child" in one]) == 100
    assert len([one for one in found if "by" in one]) == int(done.stdout)
    assert is_gapless(numbers(home))


def test_a_child_forked_in_the_middle_of_a_call_goes_on(home: Path) -> None:
    """A value that forks while it is encoded: parent and child both finish the call, once each."""
    done = run_program("""
        import os, steplog
        run = steplog.start_run("r")
        class Forks(float):
            def __float__(self):
                if not hasattr(self, "pid"): self.pid = os.fork()
                return 0.5
        value = Forks(0.5)
        run.track({"a": value, "b": None})
        run.track_this(c=1)
        if not value.pid: os._exit(0)
        os.waitpid(value.pid, 0)
    """)

    assert done.stderr == ""
    assert Counter(str(one) for one in values(home)) == {
        "{'a': 0.5, 'b': None}": 2,
        "{'c': 1}": 2,
    }
    assert is_gapless(numbers(home))


def test_a_child_forked_by_a_signal_handler_goes_on(home: Path) -> None:
    """A handler that forks during a call leaves no child without the right to write."""
    done = run_program("""
        import os, signal, steplog
        run = steplog.start_run("r")
        class Slow:
            def __float__(self):
                os.kill(os.getpid(), signal.SIGUSR1)
                return 1.0
        def handle(*_):
            if not (pid := os.fork()):
                run.track_this(child=1)
                run.track({"child": 2, "text": None})
                os._exit(0)
            os.waitpid(pid, 0)
        signal.signal(signal.SIGUSR1, handle)
        for step in range(5): run.track({"slow": Slow()}, step=step)
        run.track_this(last=1)
    """)

    assert done.stderr == ""
    assert Counter(next(iter(one)) for one in values(home)) == {"child": 10, "slow": 5, "last": 1}
    assert is_gapless(numbers(home))


@pytest.mark.parametrize(
    "start",
    [
        "os.waitpid(os.posix_spawn(sys.executable, command, os.environ), 0)",
        "subprocess.run(command, close_fds=True, check=True)",
        "subprocess.run(command, close_fds=False, check=True)",  # by vfork
        "subprocess.run(command, start_new_session=True, check=True)",
        "os.system(' '.join(map(shlex.quote, command)))",
        "os.spawnv(os.P_WAIT, sys.executable, command)",
    ],
    ids=["posix_spawn", "close_fds", "vfork", "session", "system", "spawnv"],
)
def test_a_program_started_any_way_is_in_the_run(home: Path, start: str) -> None:
    """It inherits neither descriptor nor lock, and tracks as a writer of its own."""
    done = run_program(f"""
        import os, shlex, subprocess, sys, steplog
        child = "import steplog; steplog.track_this(a=2)"
        command = [sys.executable, "-c", child]
        with steplog.start_run("r"):
            steplog.track_this(a=1)
            {start}
            steplog.track_this(a=3)
    """)

    assert done.stderr == ""
    assert [one["a"] for one in values(home)] == [1, 2, 3]
    assert len(numbers(home)) == 2
    assert is_gapless(numbers(home))


def test_a_process_that_becomes_a_daemon_goes_on(home: Path) -> None:
    """Forked twice, with all descriptors closed and another folder, it is in the run until killed.

    The process that it came from said nothing as it left by `os._exit`; the run ends when the
    daemonised one does.
    """
    program = start_program("""
        import os, signal, sys, steplog
        run = steplog.start_run("r")
        run.track_this(a=1)
        if os.fork(): os._exit(0)
        os.setsid()
        if os.fork(): os._exit(0)
        os.chdir("/"); os.umask(0)
        os.closerange(0, 256)
        for _ in range(3): os.open("/dev/null", os.O_RDWR)
        for step in range(100): run.track_this(step=step, b=step)
        run.track_this(pid=os.getpid())
        run.end()
        os._exit(0)
    """)
    program.communicate()
    wait_until(lambda: any(isinstance(event, Leave) for event in events(home)))

    found = values(home)
    assert found[0] == {"a": 1}
    assert [one["b"] for one in found if "b" in one] == [*range(100)]
    assert is_gapless(numbers(home))
    assert drained(home)["status"] == "FAIL"  # somebody was in the run, and never left it


def test_sixty_four_processes_share_one_run(home: Path) -> None:
    """64 at once, with a daemon that folds: every line once, no gap, and the run ends well."""
    program = """
        import sys, steplog
        with steplog.start_run("r"):
            sys.stdin.readline()
            for step in range(100):
                steplog.track_this(step=step, loss=step / 7)
                steplog.track({"text": "x" * (step * 37 % 4000)}, step=step)
    """
    with serving(home, "--config", configure(home)):
        programs = [start_program(program) for _ in range(64)]
        for one in programs:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        for one in programs:
            one.communicate()
        wait_until((home / "runs" / "r.json").exists)

    assert [one.returncode for one in programs] == [0] * 64
    assert len(tracked(home)) == 64 * 200
    assert len(numbers(home)) == 64
    assert is_gapless(numbers(home))
    assert document(home, "r")["status"] == "SUCCESS"


# --- how it ends ------------------------------------------------------------------------------


def test_an_exception_at_exit_costs_nothing(home: Path) -> None:
    """Exit handlers that raise before and after ours take nothing that was tracked."""
    run_program("""
        import atexit, steplog
        def late():
            steplog.track_this(a=3)
            raise ValueError("after")
        atexit.register(late)
        run = steplog.start_run("r")
        run.track_this(a=1)
        def early():
            steplog.track_this(a=2)
            raise ValueError("before")
        atexit.register(early)
    """)

    assert [one["a"] for one in values(home)] == [1, 2, 3]
    assert is_gapless(numbers(home))
    assert drained(home)["status"] == "SUCCESS"


def test_destructors_track_while_the_interpreter_goes(home: Path) -> None:
    """Of modules that go before ours they do; after ours the call fails within the destructor."""
    done = run_program("""
        import sys, steplog
        class Late:
            def __init__(self, i): self.i = i
            def __del__(self, run=steplog.start_run("r")): run.track_this(i=self.i)
        for i in range(10):
            setattr(sys.modules["steplog" if i % 2 else "sys"], f"late_{i}", Late(i))
        late = Late(10); late.me = late
    """)

    there = Counter(one["i"] for one in values(home))
    assert done.returncode == 0
    assert {1, 3, 5, 7, 9} <= there.keys()
    assert max(there.values()) == 1
    assert is_gapless(numbers(home))
    assert drained(home)["status"] == "SUCCESS"


@pytest.mark.parametrize("daemonic", [True, False])
def test_threads_that_track_while_the_process_ends(home: Path, daemonic: bool) -> None:
    """They are stopped anywhere, a call included; nothing hangs, what returned is there once."""
    for _ in range(5):
        done = run_program(f"""
            import itertools, os, sys, threading, time, steplog
            sys.setswitchinterval(1e-5)
            run = steplog.start_run("r")
            ended = threading.Event()
            def work(k):
                for i in itertools.count():
                    if ended.is_set() and not {daemonic}: return
                    run.track_this(step=i, k=k)
                    run.track({{"text": "x" * 2000, "k": k}}, step=i)
            threads = [threading.Thread(target=work, args=(k,), daemon={daemonic})
                for k in range(4)]
            for thread in threads: thread.start()
            while run.writer._pen.n < 200: time.sleep(0.001)
            ended.set()
        """)
        assert (done.returncode, done.stderr) == (0, "")

    assert is_gapless(numbers(home))
    assert len([event for event in events(home) if isinstance(event, Leave)]) == 5
    assert drained(home)["status"] == "SUCCESS"


def test_nested_signal_handlers_lose_nothing(home: Path) -> None:
    """A handler that interrupts a handler that interrupts a call: each tracks, nobody waits."""
    done = run_program("""
        import os, signal, steplog
        run = steplog.start_run("r")
        class Kills:
            def __init__(self, number): self.number = number
            def __float__(self):
                os.kill(os.getpid(), self.number)
                return 1.0
        signal.signal(signal.SIGUSR1, lambda *_: run.track({"usr1": Kills(signal.SIGUSR2)}))
        signal.signal(signal.SIGUSR2, lambda *_: run.track({"usr2": 0.5}))
        for step in range(200): run.track({"outer": Kills(signal.SIGUSR1)}, step=step)
        run.track_this(last=1)
    """)

    kinds = Counter(next(iter(one)) for one in values(home))
    assert done.stderr == ""
    assert kinds == {"outer": 200, "usr1": 200, "usr2": 200, "last": 1}
    assert is_gapless(numbers(home))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGHUP])
def test_a_process_that_a_signal_ends_has_failed(home: Path, number: signal.Signals) -> None:
    """Its lock is gone, it never left: FAIL, with all that it had tracked."""
    victim = start_program("""
        import steplog
        run = steplog.start_run("r")
        while True: run.track_this(a=1)
    """)
    wait_until(lambda: (home / "spool" / "r.jsonl").exists() and len(tracked(home)) > 100)
    victim.send_signal(number)
    victim.communicate()

    assert drained(home)["status"] == "FAIL"
    assert rows(home, "SELECT killed FROM run") == [(1,)]


# --- other interpreters -----------------------------------------------------------------------


@pytest.mark.parametrize("flags", [["-O"], ["-OO"], ["-I"], ["-S"], ["-X", "dev"], ["-B", "-q"]])
def test_any_flag_of_the_interpreter_is_taken(home: Path, flags: list[str]) -> None:
    """Isolated, optimised, without site: it tracks, and leaves as it should."""
    paths = [path for path in sys.path if path]
    code = f"import sys; sys.path += {paths!r}; import steplog; steplog.track_this(a=1)"
    command = [sys.executable, *flags, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert values(home) == [{"a": 1}]
    assert [event.status for event in events(home) if isinstance(event, Leave)] == ["SUCCESS"]


def test_a_subinterpreter_harms_nobody(home: Path) -> None:
    """One that tries to track does or raises; the main interpreter goes on, all of it is there."""
    pytest.importorskip("_xxsubinterpreters", reason="this Python has no subinterpreters to offer")
    done = run_program("""
        import _xxsubinterpreters as interpreters, steplog
        run = steplog.start_run("r")
        run.track_this(main=1)
        for _ in range(3):
            other = interpreters.create()
            try: interpreters.run_string(other, "import steplog; steplog.track_this(sub=1)")
            except interpreters.RunFailedError as error: print(error)
            run.track_this(main=2)
            interpreters.destroy(other)
        run.track({"main": 3, "text": None})
    """)

    assert done.returncode == 0, done.stderr
    assert [one["main"] for one in values(home) if "main" in one] == [1, 2, 2, 2, 3]
    assert len([one for one in values(home) if "sub" in one]) + done.stdout.count("rror") == 3
    assert not [event for event in events(home) if isinstance(event, Lost)]
    assert is_gapless(numbers(home))
    assert len([event for event in events(home) if isinstance(event, Open)]) >= 1


def test_a_python_without_the_global_lock_loses_nothing(home: Path) -> None:
    """Threads that truly run at once: every line whole and once, numbers without gaps."""
    names = ("python3.13t", "python3.14t", "python3.15t")
    python = next(filter(None, map(shutil.which, names)), None)
    if python is None:
        pytest.skip("no Python without the global lock is installed here")
    paths = [path for path in sys.path if path]
    code = f"import sys; sys.path += {paths!r}; {FREE_THREADS}"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if "msgspec" in done.stderr:
        pytest.skip("msgspec is not built for it")

    assert done.returncode == 0, done.stderr
    assert len(tracked(home)) == 4 * 2000
    assert is_gapless(numbers(home))


FREE_THREADS = """
import threading, steplog
run = steplog.start_run("r")
def work(k):
    for step in range(1000):
        run.track_this(step=step, k=k)
        run.track({"text": "x" * step, "k": k}, step=step)
threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
