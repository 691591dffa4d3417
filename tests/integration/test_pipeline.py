"""A pipeline of `runnable` whose Python tasks track: which run and which task they land in."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.conftest import DEADLINE_SECONDS, spools, tracked
from tests.daemon import configure, document, steplogd

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio, multiprocessing, subprocess, sys, threading
from runnable import AsyncPipeline, AsyncPythonTask, Map, Pipeline, PythonTask
import steplog

def plain():
    steplog.track_this(a=1)

def nested():
    with steplog.task("epoch"):
        steplog.track_this(a=1)

@steplog.task("same")
def same():
    steplog.track_this(a=1)

def in_thread():
    thread = threading.Thread(target=plain)
    thread.start()
    thread.join()

def in_fork():
    child = multiprocessing.get_context("fork").Process(target=plain)
    child.start()
    child.join()

def in_command():
    with steplog.task("in_command"):
        subprocess.run([sys.executable, "-c", "import steplog; steplog.track_this(a=1)"])

def items():
    return ["a.csv"]

def of_item(item):
    steplog.track_this(a=1)

def broken():
    steplog.track_this(a=1)
    raise ValueError("bad")

def step(function, name=None, **more):
    return PythonTask(name=name or function.__name__, function=function, **more)
"""

PLAIN = "pipeline = Pipeline(steps=[step(plain)])\npipeline.execute()"
CHUNKED = "run-log-store:\n  type: chunked-fs\n"


def run_pipeline(folder: Path, main: str, around: str = "main()", **environment: str) -> None:
    """Run a pipeline to its end: `main` makes and runs it, `around` is the program that does so.

    The pipeline calls `main` once more, to learn what it consists of.
    """
    lines = [*textwrap.dedent(main).splitlines(), "return pipeline"]
    program = [PROGRAM, "def main():", *(f"    {line}" for line in lines)]
    program += ["if __name__ == '__main__':", *(f"    {line}" for line in around.splitlines())]
    (folder / "program.py").write_text("\n".join(program))
    (folder / "chunked.yaml").write_text(CHUNKED)
    subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**os.environ, "RUNNABLE_RUN_ID": "r", **environment},
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def where(home: Path, run_id: str = "r") -> list[object]:
    """Return the tasks of what was tracked, in the order of the spool."""
    return [event.task for event in tracked(home, run_id)]


def test_each_python_task_tracks_under_its_own_name(home: Path, tmp_path: Path) -> None:
    """Tasks that run one after the other in one process are told apart, whoever tracks for them."""
    run_pipeline(
        tmp_path,
        """
        functions = (plain, nested, same, in_thread, in_fork, in_command)
        pipeline = Pipeline(steps=[*map(step, functions), step(plain, "plain again")])
        pipeline.execute()
        """,
    )

    assert spools(home) == ["r"]
    assert where(home) == [
        "plain",
        ("nested", "epoch"),
        "same",
        "in_thread",
        "in_fork",
        "in_command",
        "plain again",
    ]


def test_item_of_a_map_may_have_dots(home: Path, tmp_path: Path) -> None:
    """The name of a branch is split where the pipeline puts it together."""
    run_pipeline(
        tmp_path,
        """
        branch = Pipeline(steps=[step(of_item)])
        mapped = Map(name="files", iterate_on="items", iterate_as="item", branch=branch)
        pipeline = Pipeline(steps=[step(items, returns=["items"]), mapped])
        pipeline.execute(configuration_file="chunked.yaml")
        """,
    )

    assert where(home) == [("files", "a.csv", "of_item")]


@pytest.mark.parametrize(
    ("named", "expected"), [("nightly", ("nightly", "plain")), ("main", "plain")]
)
def test_pipeline_that_is_a_task_itself_has_its_steps_below(
    home: Path, tmp_path: Path, named: str, expected: object
) -> None:
    """The steps of a pipeline that was started as a task stand below that task."""
    run_pipeline(tmp_path, PLAIN, STEPLOG_TASK=named)

    assert where(home) == [expected]


def test_run_that_the_program_started_keeps_the_steps_names(home: Path, tmp_path: Path) -> None:
    """Whoever starts a run around a pipeline has its steps in that run, and is himself in none."""
    around = (
        "with steplog.start_run('mine') as run:\n  run.track_this(a=1); main(); run.track_this(a=1)"
    )
    run_pipeline(tmp_path, PLAIN, around)

    assert where(home, "mine") == ["main", "plain", "main"]


def test_failed_step_keeps_what_it_tracked_and_fails_alone(home: Path, tmp_path: Path) -> None:
    """What a task tracked before it failed is there, and the task before it has not failed."""
    main = "pipeline = Pipeline(steps=[step(plain), step(broken)])\npipeline.execute(tag='nightly')"
    run_pipeline(tmp_path, main)
    assert steplogd("drain", "--config", configure(home)).returncode == 0

    run = document(home, "r")
    assert (run["tag"], run["status"]) == ("nightly", "FAIL")
    assert [(step["name"], step["status"]) for step in run["steps"].values()] == [
        ("plain", "SUCCESS"),
        ("broken", "FAIL"),
        ("fail", "FAIL"),
    ]
    assert run["steps"]["broken"]["user_defined_metrics"] == {"a": 1}


def test_pipelines_of_one_process_have_each_its_own_run(home: Path, tmp_path: Path) -> None:
    """A server that runs many pipelines, side by side too, keeps their runs apart."""
    main = """
        async def serve(run_id, gate):
            async def wait():
                await gate.wait()
                steplog.track_this(run_id=run_id)
                await gate.wait()
                steplog.track_this(step=1, run_id=run_id)
            globals()["wait_" + run_id] = wait
            wait.__name__ = "wait_" + run_id
            pipeline = AsyncPipeline(steps=[AsyncPythonTask(name="wait", function=wait)])
            async for event in pipeline.execute_streaming(run_id=run_id):
                pass
        async def serve_all():
            gate = asyncio.Barrier(2)
            await asyncio.gather(serve("first", gate), serve("second", gate))
            await serve("third", asyncio.Barrier(1))
        pipeline = asyncio.run(serve_all())
        """
    run_pipeline(tmp_path, main, RUNNABLE_RUN_ID="")

    for run_id in ("first", "second", "third"):
        found = [(event.task, event.values) for event in tracked(home, run_id)]
        assert found == 2 * [("wait", {"run_id": run_id})]
