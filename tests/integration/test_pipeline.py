"""A pipeline of `runnable` whose Python tasks track: which run and which task they land in."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from steplog.events import End
from tests.conftest import DEADLINE_SECONDS, events, spools, tracked
from tests.daemon import configure, document, steplogd

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio, multiprocessing, os, subprocess, sys, threading
from runnable import AsyncPipeline, AsyncPythonTask, Map, Parallel, Pipeline, PythonTask
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

def in_loop():
    async def call():
        steplog.track_this(a=1)
    asyncio.run(call())

def in_fork():
    child = multiprocessing.get_context("fork").Process(target=plain)
    child.start()
    child.join()

def in_command():
    with steplog.task("in_command"):
        subprocess.run([sys.executable, "-c", "import steplog; steplog.track_this(a=1)"])

def run_child():
    subprocess.run([sys.executable, "-c", "import steplog; steplog.track_this(child=1)"])

def track_and_run_child():
    steplog.track_this(a=1)
    run_child()

def items():
    return ["a.csv"]

def of_item(item):
    steplog.track_this(a=1)

def broken():
    steplog.track_this(a=1)
    raise ValueError("bad")

def broken_in_task():
    with steplog.task("epoch"):
        steplog.track_this(a=1)
    raise ValueError("bad")

def step(function, name=None, **more):
    return PythonTask(name=name or function.__name__, function=function, **more)
"""

PLAIN = "pipeline = Pipeline(steps=[step(plain)])\npipeline.execute()"
CHUNKED = "run-log-store:\n  type: chunked-fs\n"
PARALLEL = (
    CHUNKED
    + """
pipeline-executor:
  type: local
  config:
    enable_parallel: true
"""
)

GRAPH = """
dag:
  start_at: sizes
  steps:
    sizes:
      {{{outer}type: parallel, next: success, branches: {{bad: {{start_at: fit, steps: {{
        fit: {{{inner}type: task, command: program.broken, next: success}},
        handler: {{type: task, command: program.plain, next: success}},
        success: {{type: success}},
        fail: {{type: fail}}}}}}}}}}
    handler: {{type: task, command: program.plain, next: success}}
    success: {{type: success}}
    fail: {{type: fail}}
"""


def run_pipeline(folder: Path, main: str, around: str = "main()", **environment: str) -> None:
    """Run a pipeline to its end: `main` makes and runs it, `around` is the program that does so.

    The pipeline calls `main` once more, to learn what it consists of.
    """
    lines = [*textwrap.dedent(main).splitlines(), "return pipeline"]
    program = [PROGRAM, "def main():", *(f"    {line}" for line in lines)]
    program += ["if __name__ == '__main__':", *(f"    {line}" for line in around.splitlines())]
    (folder / "program.py").write_text("\n".join(program))
    (folder / "chunked.yaml").write_text(CHUNKED)
    (folder / "parallel.yaml").write_text(PARALLEL)
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


def folded(home: Path) -> dict[str, Any]:
    """Fold the run; return its run log."""
    assert steplogd("drain", "--config", configure(home)).returncode == 0
    return document(home, "r")


def outcomes(steps: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return how each task that was attempted ended, those in branches under dotted names."""
    found = {}
    for step in steps.values():
        for attempt in step["attempts"] if step["step_type"] == "task" else ():
            found[step["internal_name"]] = (attempt["status"], attempt["message"])
        found |= outcomes(step["branches"])
    return found


def test_failed_step_keeps_what_it_tracked_and_fails_alone(home: Path, tmp_path: Path) -> None:
    """What a task tracked before it failed is there, and the task before it has not failed."""
    main = "pipeline = Pipeline(steps=[step(plain), step(broken)])\npipeline.execute(tag='nightly')"
    run_pipeline(tmp_path, main)

    run = folded(home)
    assert (run["tag"], run["status"]) == ("nightly", "FAIL")
    assert [(step["name"], step["status"]) for step in run["steps"].values()] == [
        ("plain", "SUCCESS"),
        ("broken", "FAIL"),
        ("fail", "FAIL"),
    ]
    assert run["steps"]["broken"]["user_defined_metrics"] == {"a": 1}


@pytest.mark.parametrize("name", ["broken", "broken_in_task"])
def test_failed_step_says_what_was_raised(home: Path, tmp_path: Path, name: str) -> None:
    """A step fails with the message of its own exception, though the pipeline raises another."""
    main = f"pipeline = Pipeline(steps=[step(plain), step({name})])\npipeline.execute()"
    run_pipeline(tmp_path, main)

    found = outcomes(folded(home)["steps"])
    assert found["plain"] == ("SUCCESS", "")
    assert found[name] == ("FAIL", "ValueError: bad")


def test_step_whose_failure_is_handled_has_failed_alone(home: Path, tmp_path: Path) -> None:
    """A step with `on_failure` fails, while the step that deals with it and the run succeed."""
    run_pipeline(
        tmp_path,
        """
        handler = Pipeline(steps=[step(plain, "handler")])
        pipeline = Pipeline(steps=[step(broken, on_failure=handler), step(plain)])
        pipeline.execute()
        """,
    )

    run = folded(home)
    assert run["status"] == "SUCCESS"
    assert outcomes(run["steps"]) == {
        "broken": ("FAIL", "ValueError: bad"),
        "handler": ("SUCCESS", ""),
    }


@pytest.mark.parametrize("before", ["", "step(plain, 'prep'), "])
def test_branch_that_fails_in_a_process_of_its_own(home: Path, tmp_path: Path, before: str) -> None:
    """The branch and the run fail, and no step does that came before, or runs beside it."""
    run_pipeline(
        tmp_path,
        f"""
        branches = {{name: step(function, "fit").as_pipeline()
                    for name, function in (("bad", broken), ("good", plain))}}
        pipeline = Pipeline(steps=[{before}Parallel(name="sizes", branches=branches)])
        pipeline.execute(configuration_file="parallel.yaml")
        """,
    )

    run = folded(home)
    assert run["status"] == "FAIL"
    assert outcomes(run["steps"]) == {
        **({"prep": ("SUCCESS", "")} if before else {}),
        "sizes.bad.fit": ("FAIL", "ValueError: bad"),
        "sizes.good.fit": ("SUCCESS", ""),
    }


@pytest.mark.parametrize("of", ["branch", "step"])
def test_branch_whose_failure_is_handled_fails_no_run(home: Path, tmp_path: Path, of: str) -> None:
    """A failure in another process that the graph deals with is its step's alone."""
    handler = "on_failure: handler, "
    inner, outer = (handler, "") if of == "branch" else ("", handler)
    (tmp_path / "graph.yaml").write_text(GRAPH.format(inner=inner, outer=outer))
    run_pipeline(
        tmp_path,
        """
        subprocess.run(
            [sys.executable, "-m", "runnable.cli", "execute", "graph.yaml"],
            env={**os.environ, "RUNNABLE_CONFIGURATION_FILE": "parallel.yaml"},
        )
        pipeline = None
        """,
    )

    run = folded(home)
    assert run["status"] == "SUCCESS"
    assert outcomes(run["steps"]) == {
        "sizes.bad.fit": ("FAIL", "ValueError: bad"),
        "handler" if of == "step" else "sizes.bad.handler": ("SUCCESS", ""),
    }


def test_process_that_a_step_starts_is_in_the_step(home: Path, tmp_path: Path) -> None:
    """Once the pipeline's process has tracked, a child of any step finds the step's name."""
    run_pipeline(
        tmp_path,
        """
        steps = [step(track_and_run_child), step(run_child)]
        pipeline = Pipeline(steps=steps)
        pipeline.execute()
        """,
        "main(); run_child()",
    )

    expected = ["track_and_run_child", "track_and_run_child", "run_child", "main"]
    assert where(home) == expected


def test_first_call_may_be_of_a_thread(home: Path, tmp_path: Path) -> None:
    """A thread that makes the first call of the process is in the step all the same."""
    run_pipeline(tmp_path, "pipeline = Pipeline(steps=[step(in_thread)])\npipeline.execute()")

    assert where(home) == ["in_thread"]


@pytest.mark.parametrize("first", ["in_thread", "in_loop"])
def test_first_call_without_the_pipelines_context(home: Path, tmp_path: Path, first: str) -> None:
    """Where the first call of the process could not listen for the pipeline, the next one does."""
    run_pipeline(
        tmp_path,
        f"""
        handler = Pipeline(steps=[step(plain, "handler")])
        pipeline = Pipeline(steps=[step({first}), step(broken, on_failure=handler)])
        pipeline.execute()
        """,
    )

    assert outcomes(folded(home)["steps"]) == {
        first: ("SUCCESS", ""),
        "broken": ("FAIL", "ValueError: bad"),
        "handler": ("SUCCESS", ""),
    }


def test_events_that_a_task_puts_out_are_its_own(home: Path, tmp_path: Path) -> None:
    """Who streams the pipeline's events gets all of them, and none that looks alike ends a step."""
    main = """
        import queue
        from runnable import set_stream_queue
        async def stream():
            steplog.track_this(a=1)
            yield {"type": "task_completed", "name": "mine"}
            steplog.track_this(b=1)
        globals()["stream"] = stream
        async def drain(events):
            async for event in events:
                pass
        queue = queue.Queue()
        set_stream_queue(queue)
        pipeline = AsyncPipeline(steps=[AsyncPythonTask(name="stream", function=stream)])
        asyncio.run(drain(pipeline.execute_streaming()))
        steplog.track_this(kinds=[event["type"] for event in queue.queue])
        """
    run_pipeline(tmp_path, main)

    assert where(home) == ["stream", "stream", "main"]
    assert tracked(home, "r")[-1].values == {
        "kinds": ["task_started", "task_completed", "task_completed"]
    }
    assert len([event for event in events(home, "r") if isinstance(event, End)]) == 1


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
