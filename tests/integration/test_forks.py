"""Forked children and workers of every start method on one run, each a writer of its own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from steplog.events import Open
from tests.conftest import (
    DEADLINE_SECONDS,
    events,
    is_gapless,
    leaves,
    numbers,
    run_program,
    start_program,
    values,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path


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
