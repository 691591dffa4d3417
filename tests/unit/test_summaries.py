"""Runs in short: listed, and each series counted and bounded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from steplog.run_list import Selection, list_runs
from steplog.summaries import summarise

if TYPE_CHECKING:
    from tests.stores import Store


def test_runs_are_listed_newest_first_and_by_tag(empty: Store) -> None:
    """The run that started last comes first; a tag selects those that have exactly it."""
    empty.run("old", 1, start_ts=1, tag="a")
    empty.run("new", 2, start_ts=3, parameters='{"lr":0.1}')
    empty.run("mid", 3, start_ts=2, tag="A", killed=1)

    found = list_runs(empty.home)
    assert [run.run_id for run in found] == ["new", "mid", "old"]
    assert (found[0].parameters, found[0].killed, found[1].killed) == ({"lr": 0.1}, False, True)
    assert [run.run_id for run in list_runs(empty.home, Selection(tag="a"))] == ["old"]


def test_a_summary_counts_and_bounds_each_series(store: Store) -> None:
    """Attempts are one series; the last value is the latest tracked; a range is of numbers."""
    store.attempt(number=2)
    store.observe("loss", 0.9, step=5)
    store.observe("note", "warm")
    store.observe("loss", 3, step=1, attempt=2)
    store.observe("loss", math.nan, step=2, attempt=2)
    store.observe("flag", True)

    (task,) = summarise(store.home, "r").tasks
    assert (task.path, [attempt.number for attempt in task.attempts]) == (("train",), [1, 2])
    loss, note, flag = task.series
    assert (
        loss.key,
        loss.count,
        loss.last_step,
        loss.minimum,
        loss.maximum,
    ) == ("loss", 3, 2, 0.9, 3)
    assert math.isnan(loss.last_value)
    assert (note.key, note.last_value, note.minimum) == ("note", "warm", None)
    assert (flag.last_value, flag.minimum, flag.maximum) == (True, None, None)


def test_a_summary_keeps_runs_and_tasks_apart(store: Store) -> None:
    """The same key in another task, or in another run, is another series."""
    store.task("eval", task_no=1)
    store.run("other", 2)
    store.task("train", run_no=2)
    store.observe("loss", 1)
    store.observe("loss", 2, task_no=1)
    for step in range(5):
        store.observe("loss", 3, step, run_no=2)

    found = {task.path: task.series[0].last_value for task in summarise(store.home, "r").tasks}
    assert found == {("train",): 1, ("eval",): 2}
    assert store.metrics() == {"loss": 1}
