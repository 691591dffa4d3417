"""Runs side by side: their parameters and metrics, and which of them differ."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from steplog.store_reader import RunRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steplog.summaries import RunSummary, SeriesSummary


class Compared(msgspec.Struct, frozen=True):
    """A parameter or a metric in each of the runs.

    Attributes:
        task: The names from the outermost task to it; none for a parameter of the run.
        name: Of the parameter, or the key of the metric.
        values: One for each run, in their order; UNSET where a run has none. That of a metric is a
            dict: last, min and max (of its finite numbers; None without any) and steps.
        differs: Not all of them are the same.
    """

    task: tuple[str, ...]
    name: str
    values: list[Any]
    differs: bool


class Comparison(msgspec.Struct, frozen=True):
    """Two or more runs side by side."""

    runs: list[RunRow]
    parameters: list[Compared]
    metrics: list[Compared]


def compare(summaries: Sequence[RunSummary]) -> Comparison:
    """Put runs side by side; names stand in the order in which the runs bring them, by task."""
    return Comparison(
        [summary.run for summary in summaries],
        _side_by_side([dict(_parameters(summary)) for summary in summaries]),
        _side_by_side([dict(_metrics(summary)) for summary in summaries]),
    )


def differ(values: Sequence[Any]) -> bool:
    """Tell whether not all of the values are the same."""
    return not all(is_same(values[0], value) for value in values)


def is_same(left: Any, right: Any) -> bool:
    """Tell whether two values are of the same type and equal: 42 is not 42.0, and NaN is NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(is_same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    return bool(left == right or (left != left and right != right))


def _parameters(summary: RunSummary) -> Iterator[tuple[tuple[tuple[str, ...], str], Any]]:
    """Yield those of the run, and of each task's last attempt, by task and name."""
    for name, value in summary.run.parameters.items():
        yield ((), name), value
    for task in summary.tasks:
        for name, value in task.parameters.items():
            yield (task.path, name), value


def _metrics(summary: RunSummary) -> Iterator[tuple[tuple[tuple[str, ...], str], Any]]:
    for task in summary.tasks:
        for series in task.series:
            yield (task.path, series.key), _figures(series)


def _figures(series: SeriesSummary) -> dict[str, Any]:
    return {
        "last": series.last_value,
        "min": series.minimum,
        "max": series.maximum,
        "steps": series.steps,
    }


def _side_by_side(by_run: list[dict[tuple[tuple[str, ...], str], Any]]) -> list[Compared]:
    named = dict.fromkeys(chain.from_iterable(by_run))
    tasks = {task: number for number, task in enumerate(dict.fromkeys(task for task, _ in named))}
    found = []
    for task, name in sorted(named, key=lambda one: tasks[one[0]]):
        values = [of_run.get((task, name), UNSET) for of_run in by_run]
        found.append(Compared(task, name, values, differ(values)))
    return found
