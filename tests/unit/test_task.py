"""Tasks: attempts as blocks and as functions, nested, failing, in threads and coroutines."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

import steplog
from steplog.events import End, Lost, Start
from tests.conftest import events, run_program, tracked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def run(home: Path) -> Iterator[steplog.Run]:
    """Be in a run."""
    assert home
    with steplog.start_run("r") as run:
        yield run


def story(home: Path) -> list[tuple[str, object]]:
    """Return the starts and ends of tasks, in their order."""
    return [
        (type(event).__name__, event.task)
        for event in events(home)
        if isinstance(event, Start | End)
    ]


def test_block_is_an_attempt(home: Path) -> None:
    """Entering starts an attempt with its parameters, leaving ends it."""
    with steplog.task("train", {"rate": 0.5}):
        steplog.track_this(step=1, loss=0.25)

    start, end = (event for event in events(home) if isinstance(event, Start | End))
    assert isinstance(start, Start)
    assert (start.task, start.parameters) == ("train", {"rate": 0.5})
    assert isinstance(end, End)
    assert (end.task, end.status) == ("train", "SUCCESS")
    assert [event.task for event in tracked(home)] == ["train"]


def test_exception_fails_the_attempt_and_goes_on(home: Path) -> None:
    """An attempt that an exception leaves has failed, and says why."""
    with pytest.raises(ValueError, match="bad"), steplog.task("train"):
        raise ValueError("bad")
    steplog.track_this(a=1)

    (end,) = [event for event in events(home) if isinstance(event, End)]
    assert (end.status, end.message) == ("FAIL", "ValueError: bad")
    assert [event.task for event in tracked(home)] == ["main"]


def test_nested_task_stands_below_the_outer_one(home: Path) -> None:
    """A task within a task is named by the way to it."""
    with steplog.task("outer"):
        with steplog.task("inner"):
            steplog.track_this(step=1, a=1)
        steplog.track_this(step=2, a=1)

    assert [event.task for event in tracked(home)] == [("outer", "inner"), "outer"]
    assert story(home) == [
        ("Start", "outer"),
        ("Start", ("outer", "inner")),
        ("End", ("outer", "inner")),
        ("End", "outer"),
    ]


def test_each_call_of_a_function_is_an_attempt(home: Path) -> None:
    """A decorated function is itself, and an attempt each time that it is called."""

    @steplog.task("train")
    def train(rate: float) -> float:
        """Train."""
        steplog.track_this(rate=rate)
        return rate

    assert [train(0.5), train(0.25)] == [0.5, 0.25]
    assert train.__doc__ == "Train."
    assert story(home) == 2 * [("Start", "train"), ("End", "train")]


def test_attempt_of_a_coroutine_lasts_until_it_returns(home: Path) -> None:
    """Decorated coroutines that run side by side each track into their own attempt."""

    @steplog.task("a")
    async def work(name: str) -> None:
        with steplog.task(name):
            for _ in range(3):
                steplog.track_this(who=name)
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(work("x"), work("y"))

    asyncio.run(main())
    assert len(tracked(home)) == 6
    assert all(event.task == ("a", event.values["who"]) for event in tracked(home))
    assert asyncio.iscoroutinefunction(work)


def test_tasks_of_threads_side_by_side_do_not_nest(home: Path) -> None:
    """A thread's task is its own: another thread's never stands below it."""
    gate = threading.Barrier(3)

    def work(name: str) -> None:
        gate.wait()
        with steplog.task(name):
            gate.wait()
            steplog.track_this(who=name)
            gate.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted((event.task, event.values["who"]) for event in tracked(home)) == (
        [("a", "a"), ("b", "b"), ("c", "c")]
    )


def test_recursion_is_an_attempt_within_an_attempt(home: Path) -> None:
    """A decorated function that calls itself nests."""

    @steplog.task("f")
    def down(depth: int) -> None:
        if depth:
            down(depth - 1)

    down(1)
    assert story(home)[1] == ("Start", ("f", "f"))


@pytest.mark.parametrize("name", ["", "a/b", "ü", "\udc80", "x" * 1000])
def test_any_text_is_a_name(home: Path, name: str) -> None:
    """Whatever a task is called, it is tracked."""
    with steplog.task(name):
        steplog.track_this(a=1)

    assert [event.task for event in tracked(home)] == [name or "main"]


def test_error_of_the_tracker_leaves_no_task_behind(home: Path) -> None:
    """When entering raises, as was asked for, the task is not entered."""
    steplog.configure(strict=True)
    with pytest.raises(steplog.TrackingError), steplog.task("bad", {"a": object()}):
        pass
    steplog.track_this(a=1)

    assert [event.task for event in tracked(home)] == ["main"]


@pytest.mark.parametrize("parameters", [[1], 5, "text"])
def test_parameters_that_are_none_cost_themselves_alone(home: Path, parameters: Any) -> None:
    """The attempt is there without them, how many were lost is told, and nothing is raised."""
    with steplog.task("train", parameters):
        steplog.track_this(a=1)

    assert story(home) == [("Start", "train"), ("End", "train")]
    assert [event.task for event in tracked(home)] == ["train"]
    assert [event.count for event in events(home) if isinstance(event, Lost)] == [1]


def test_parameters_that_are_none_raise_where_asked_for(home: Path) -> None:
    """As all that is not recorded does then, and not before the task is entered."""
    steplog.configure(strict=True)
    task = steplog.task("train", cast("dict[str, Any]", [1]))
    with pytest.raises(steplog.TrackingError, match="TypeError"), task:
        pass

    assert story(home) == []


def test_task_starts_a_run_where_there_is_none(home: Path) -> None:
    """A task needs no run to be started first."""
    done = run_program("""
        import os, steplog
        with steplog.task("train"): steplog.track_this(a=1)
        print(steplog.get_run_id())
    """)

    assert [event.task for event in tracked(home, done.stdout.strip())] == ["train"]
