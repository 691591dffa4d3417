"""Runs in short, for tables: what takes no more room for a run of more steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.series import find_members
from steplog.store_reader import (
    RunRow,
    find_run,
    rows,
    snapshot,
    task_path,
    tasks_of_attempt,
    text,
)
from steplog.values import from_column, map_from_json

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


class SeriesSummary(msgspec.Struct, frozen=True):
    """What a task tracked under one key; the last observation is the latest in the spool.

    Attributes:
        count: How often it was tracked.
        steps: At how many steps it was tracked.
        minimum: Of its finite numbers, the later one for each step; None without any.
        maximum: Likewise.
        attempts: The attempts that tracked it, in their order; 0 before anybody was in the task.
    """

    key: str
    count: int
    steps: int
    last_step: int
    last_value: Any
    minimum: float | int | None
    maximum: float | int | None
    attempts: list[int]


class AttemptSummary(msgspec.Struct, frozen=True):
    """An attempt of a task; times are microseconds since the epoch."""

    number: int
    start_ts: int
    end_ts: int | None
    status: str
    message: str


class TaskSummary(msgspec.Struct, frozen=True):
    """A task of a run: the names from the outermost task to it, its attempts, its series.

    Attributes:
        parameters: Of its last attempt.
    """

    path: tuple[str, ...]
    status: str
    message: str
    parameters: dict[str, Any]
    attempts: list[AttemptSummary]
    series: list[SeriesSummary]


class RunSummary(msgspec.Struct, frozen=True):
    """A run with its tasks in order of appearance; no larger for more steps."""

    run: RunRow
    tasks: list[TaskSummary]


def summarise(home: Path, run_id: str, attempt: int | None = None) -> RunSummary:
    """Return a run with steps, last value and range of each series, computed by SQLite.

    Args:
        home: Where the store lies.
        run_id: The run; it may still go on.
        attempt: Of each task only this attempt; tasks without it are left out.

    Raises:
        InvalidName: The run id is none.
        RunNotFound: The run log has no such run.
        AttemptNotFound: No task of the run has this attempt.
        StoreUnreadable: The store is missing, of another version, or cannot be read.
    """
    with snapshot(home) as connection:
        run = find_run(connection, run_id)
        having = None if attempt is None else tasks_of_attempt(connection, run, attempt)
        series = _series(connection, run.run_no, attempt)
        tasks = [
            _task(connection, run.run_no, attempt, row, series.get(row[0], []))
            for row in rows(connection, _TASKS, run.run_no)
            if having is None or row[0] in having
        ]
    return RunSummary(run, tasks)


_TASKS: Final = "SELECT task_no, path, status, message FROM task WHERE run_no = ? ORDER BY task_no"


def _task(
    connection: sqlite3.Connection,
    run_no: int,
    attempt: int | None,
    row: tuple[Any, ...],
    series: list[SeriesSummary],
) -> TaskSummary:
    task_no, path, status, message = row
    named = {"run": run_no, "task": task_no, "attempt": attempt}
    attempts = [
        AttemptSummary(number, start, end, ended, text(told))
        for number, start, end, ended, told in rows(connection, _ATTEMPTS, named)
    ]
    (column,) = next(rows(connection, _PARAMETERS, named), ("{}",))
    parameters = map_from_json(column)
    return TaskSummary(task_path(path), status, text(message), parameters, attempts, series)


_OF_TASK: Final = (
    "FROM attempt WHERE run_no = :run AND task_no = :task AND number = ifnull(:attempt, number)"
)
_ATTEMPTS: Final = f"SELECT number, start_ts, end_ts, status, message {_OF_TASK} ORDER BY number"
_PARAMETERS: Final = f"SELECT parameters {_OF_TASK} ORDER BY number DESC LIMIT 1"


def _series(
    connection: sqlite3.Connection, run_no: int, attempt: int | None
) -> dict[int, list[SeriesSummary]]:
    """Return the series by task, in the order of appearance."""
    find_members(connection, run_no, attempt)
    attempts: dict[int, list[int]] = {}
    for first, number in rows(connection, _TRACKED_IN, run_no):
        attempts.setdefault(first, []).append(number)
    series: dict[int, list[SeriesSummary]] = {}
    for first, task_no, *columns in rows(connection, _SERIES, run_no):
        summary = _series_summary(*columns, attempts=attempts[first])
        series.setdefault(task_no, []).append(summary)
    return series


_TRACKED_IN: Final = (
    "SELECT first, attempt FROM temp.member AS m "
    "CROSS JOIN main.series AS s ON s.run_no = ? AND s.series_no = m.series_no ORDER BY 1, 2"
)

# One pass over the run's observations, sorted by step, of which the later one counts: `number` is
# that of the row with the greatest position, as SQLite promises beside max(). Infinities
# (9e999) and texts, which SQLite takes for greater than any number, have no part in the range.
# CROSS JOIN keeps SQLite to this order.
_SERIES: Final = (
    "WITH point AS (SELECT m.task_no, first, step, count(*) AS count, max(position) AS position, "
    "CASE WHEN -9e999 < value AND value < 9e999 THEN value END AS number "
    "FROM main.observation AS o CROSS JOIN temp.member AS m ON m.series_no = o.series_no "
    "WHERE o.run_no = ?1 GROUP BY first, step), "
    "whole AS (SELECT task_no, first, sum(count) AS count, count(*) AS steps, "
    "max(position) AS last, min(number) AS low, max(number) AS high FROM point GROUP BY first) "
    "SELECT first, whole.task_no, key, count, steps, o.step, value, low, high FROM whole "
    "CROSS JOIN main.series AS s ON s.run_no = ?1 AND s.series_no = first "
    "CROSS JOIN main.observation AS o ON o.run_no = ?1 AND o.position = last ORDER BY first"
)


def _series_summary(*columns: Any, attempts: list[int]) -> SeriesSummary:
    key, count, steps, step, value, low, high = columns
    return SeriesSummary(text(key), count, steps, step, from_column(value), low, high, attempts)
