"""Tasks within tasks: across threads, coroutines, and the processes that a task starts."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import steplog
from tests.conftest import DEADLINE_SECONDS, run_program, tracked

TRACK = "import steplog; steplog.track_this(who='child')"
METHODS = ["fork", "spawn", "forkserver"]
MAPPED = """
    import multiprocessing, sys, steplog
    @steplog.task("process")
    def process(length):
        steplog.track_this(length=length)
    def branch(number):
        with steplog.task(str(number)):
            process(number)
    if __name__ == "__main__":
        with steplog.start_run("r"), steplog.task("chunks"):
            with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
                pool.map(branch, [1, 2])
                pool.close()
                pool.join()
"""


def where(home: Path, run_id: str = "r") -> list[object]:
    """Return the tasks of what was tracked, in the order of the spool."""
    return [event.task for event in tracked(home, run_id)]


def start(*command: str) -> None:
    """Run a program to its end in the environment that this process has now."""
    subprocess.run(command, check=True, timeout=DEADLINE_SECONDS)


def test_task_in_a_thread_of_a_pool_stands_below_the_task_that_runs_the_pool(home: Path) -> None:
    """The branches of a map in threads get the names `chunks.1.process` and `chunks.2.process`."""

    def branch(number: int) -> None:
        with steplog.task(str(number)), steplog.task("process"):
            steplog.track_this(number=number)

    with steplog.start_run("r"), steplog.task("chunks"), ThreadPoolExecutor(2) as pool:
        list(pool.map(branch, [1, 2]))

    found = {event.task: event.values["number"] for event in tracked(home, "r")}
    assert found == {("chunks", "1", "process"): 1, ("chunks", "2", "process"): 2}


def test_thread_of_one_of_several_coroutines_is_in_the_task_that_all_are_in(home: Path) -> None:
    """A thread that does not know whose it is goes by what is certain, never by a sibling."""

    async def branch(name: str, gate: asyncio.Barrier) -> None:
        with steplog.task(name):
            await gate.wait()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, lambda: steplog.track_this(how="executor"))
            await asyncio.to_thread(steplog.track_this, how=name)
            await gate.wait()

    async def both() -> None:
        gate = asyncio.Barrier(2)
        await asyncio.gather(branch("a", gate), branch("b", gate))

    with steplog.start_run("r"), steplog.task("outer"):
        asyncio.run(both())

    found = sorted((event.values["how"], event.task) for event in tracked(home, "r"))
    assert found == [
        ("a", ("outer", "a")),
        ("b", ("outer", "b")),
        ("executor", "outer"),
        ("executor", "outer"),
    ]


def test_thread_is_in_the_innermost_task_of_the_main_thread(home: Path) -> None:
    """The thread of a data loader tracks to where the training is."""
    with steplog.start_run("r"), steplog.task("outer"), steplog.task("inner"):
        thread = threading.Thread(target=steplog.track_this, kwargs={"a": 1})
        thread.start()
        thread.join()

    assert where(home) == [("outer", "inner")]


def test_thread_that_names_a_run_is_in_the_main_threads_task_of_that_run(home: Path) -> None:
    """A task by the run's own method nests as one by `steplog.task` does."""

    def work(run: steplog.Run) -> None:
        run.track_this(a=1)
        with run.task("inner"):
            run.track_this(a=2)

    with steplog.start_run("r") as run, run.task("outer"), steplog.start_run("other"):
        thread = threading.Thread(target=work, args=(run,))
        thread.start()
        thread.join()

    assert where(home) == ["outer", ("outer", "inner")]


@pytest.mark.parametrize("method", METHODS)
def test_process_that_a_task_starts_is_in_it(home: Path, method: str) -> None:
    """What a child of multiprocessing tracks stands where its parent was when it started it."""
    run_program(
        """
        import multiprocessing, sys, steplog
        context = multiprocessing.get_context(sys.argv[1])
        with steplog.start_run("r"), steplog.task("train"):
            child = context.Process(target=steplog.track_this, kwargs={"who": "child"})
            child.start()
            child.join()
        """,
        method,
    )

    assert where(home) == ["train"]


@pytest.mark.parametrize("method", METHODS)
def test_branches_in_the_processes_of_a_pool_stand_below_its_task(
    home: Path, tmp_path: Path, method: str
) -> None:
    """The branches of a map in processes get the names `chunks.1.process`, `chunks.2.process`."""
    program = tmp_path / "mapped.py"
    program.write_text("\n".join(line[4:] for line in MAPPED.splitlines()))
    start(sys.executable, str(program), method)

    found = {event.task: event.values["length"] for event in tracked(home, "r")}
    assert found == {("chunks", "1", "process"): 1, ("chunks", "2", "process"): 2}


def test_command_that_a_task_starts_is_in_it(home: Path) -> None:
    """`steplog track` and the SDK go to the same place from within a task."""
    with steplog.start_run("r"), steplog.task("train"):
        start(str(Path(sys.executable).with_name("steplog")), "track", "who=child")
        start(sys.executable, "-c", TRACK)

    assert where(home) == ["train", "train"]


@pytest.mark.usefixtures("home")
def test_children_are_told_of_a_nested_task_by_a_list() -> None:
    """STEPLOG_TASK has the names from the outermost task on."""
    with steplog.start_run("r"), steplog.task("outer"), steplog.task("ü"):
        told = os.environ["STEPLOG_TASK"]

    assert json.loads(told) == ["outer", "ü"]


@pytest.mark.usefixtures("home")
def test_children_started_beside_several_tasks_are_told_of_none() -> None:
    """A process that one of several coroutines starts is not taken for another's."""

    async def branch(name: str, gate: asyncio.Barrier) -> str | None:
        with steplog.task(name):
            await gate.wait()
            told = os.environ.get("STEPLOG_TASK")
            await gate.wait()
        return told

    async def both() -> list[str | None]:
        gate = asyncio.Barrier(2)
        return list(await asyncio.gather(branch("a", gate), branch("b", gate)))

    with steplog.start_run("r"):
        told = asyncio.run(both())

    assert told == [None, None]


@pytest.mark.parametrize("name", ["a\0b", "\udc80", "[1]", "x" * 200_000])
def test_any_name_lets_a_task_start_processes(home: Path, name: str) -> None:
    """A name that no environment variable takes stops nothing that the task starts."""
    with steplog.start_run("r"), steplog.task(name):
        start(sys.executable, "-c", TRACK)

    assert len(where(home)) == 1


def test_environment_is_left_as_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a task, its process finds the task that it was started in again."""
    monkeypatch.setenv("STEPLOG_TASK", "nightly")
    with steplog.start_run("r"):
        with steplog.task("train"):
            pass
        steplog.track_this(a=1)

    assert where(home) == ["nightly"]
    assert os.environ["STEPLOG_TASK"] == "nightly"


def test_what_children_are_told_is_not_heard_by_its_own_process(home: Path) -> None:
    """A run that is started within a task of another run is not in that task, nor its children."""
    with steplog.start_run("r"), steplog.task("train"), steplog.start_run("other"):
        steplog.track_this(a=1)
        start(sys.executable, "-c", TRACK)

    assert where(home, "other") == ["main", "main"]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("nightly", ("nightly", "train")),
        ("train", "train"),
        ("main", "train"),
        ("", "train"),
    ],
)
def test_task_stands_below_the_one_that_the_environment_names(
    home: Path, named: str, expected: object
) -> None:
    """A program started as a task nests its own; one of the same name is that task."""
    run_program(
        """
        import steplog
        with steplog.start_run("r"), steplog.task("train"):
            steplog.track_this(a=1)
        """,
        STEPLOG_TASK=named,
    )

    assert where(home) == [expected]


def test_fork_leaves_the_parents_task_to_the_parent(home: Path) -> None:
    """What a forked child enters and leaves changes nothing for its parent."""
    with steplog.start_run("r"), steplog.task("train"):
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_enter_and_track)
        child.start()
        child.join()
        steplog.track_this(who="parent")

    assert where(home) == [("train", "inner"), "train"]


def _enter_and_track() -> None:
    with steplog.task("inner"):
        steplog.track_this(who="child")
