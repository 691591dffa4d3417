"""Runs in short, for tables: what takes no more room for a run of more steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.store_reader import RUNS, RunRow, find_run, rows, run_row, snapshot, task_path, text
from steplog.values import from_column

if TYPE_CHECKING:
    from pathlib import Path


class SeriesSummary(msgspec.Struct, frozen=True):
    """What a task tracked under one key; the last observation is the latest in the spool.

    Attributes:
        minimum: Of its finite numbers; None without any.
        maximum: Likewise.
    """

    key: str
    count: int
    last_step: int
    last_value: Any
    minimum: float | int | None
    maximum: float | int | None


class TaskSummary(msgspec.Struct, frozen=True):
    """A task of a run: the names from the outermost task to it, its attempts, its series."""

    path: tuple[str, ...]
    status: str
    message: str
    attempts: int
    series: list[SeriesSummary]


class RunSummary(msgspec.Struct, frozen=True):
    """A run with its tasks in order of appearance; no larger for more steps."""

    run: RunRow
    tasks: list[TaskSummary]


def list_runs(home: Path, tag: str | None = None) -> list[RunRow]:
    """Return the runs in the run log, the one that started last first; with a tag, only its own.

    Raises:
        NothingFolded: No daemon has folded anything here yet.
        StoreUnreadable: The store is of another version, or cannot be read.
    """
    order = "ORDER BY start_ts DESC, run_no DESC"
    with snapshot(home) as connection:
        if tag is None:
            return [run_row(row) for row in rows(connection, f"{RUNS} {order}")]
        return [run_row(row) for row in rows(connection, f"{RUNS} WHERE tag = ? {order}", tag)]


def summarise(home: Path, run_id: str) -> RunSummary:
    """Return a run with count, last value and range of each series, computed by SQLite.

    Raises:
        InvalidName: The run id is none.
        RunNotFound: The run log has no such run.
        StoreUnreadable: The store is missing, of another version, or cannot be read.
    """
    with snapshot(home) as connection:
        run = find_run(connection, run_id)
        series: dict[int, list[SeriesSummary]] = {}
        for task_no, *columns in rows(connection, _SERIES, {"run": run.run_no}):
            series.setdefault(task_no, []).append(_series_summary(*columns))
        tasks = [
            TaskSummary(task_path(path), status, text(message), attempts, series.get(task_no, []))
            for task_no, path, status, message, attempts in rows(connection, _TASKS, run.run_no)
        ]
    return RunSummary(run, tasks)


_TASKS: Final = (
    "SELECT task_no, path, status, message, (SELECT count(*) FROM attempt "
    "WHERE attempt.run_no = task.run_no AND attempt.task_no = task.task_no) "
    "FROM task WHERE run_no = ? ORDER BY task_no"
)

# One pass over the run's observations by series, then the series of all attempts merged by key.
# What is stored as text is no finite number, and has no part in the range.
_SERIES: Final = (
    "WITH part AS (SELECT series_no, count(*) AS count, max(position) AS last, "
    "min(CASE typeof(value) WHEN 'text' THEN NULL ELSE value END) AS low, "
    "max(CASE typeof(value) WHEN 'text' THEN NULL ELSE value END) AS high "
    "FROM observation WHERE run_no = :run GROUP BY series_no), "
    "whole AS (SELECT task_no, min(series_no) AS first, key, sum(count) AS count, "
    "max(last) AS last, min(low) AS low, max(high) AS high "
    "FROM part JOIN series USING (series_no) WHERE run_no = :run GROUP BY task_no, key) "
    "SELECT task_no, key, count, step, value, low, high FROM whole JOIN observation "
    "ON observation.run_no = :run AND position = last ORDER BY first"
)


def _series_summary(
    key: str | bytes, count: int, step: int, value: Any, low: Any, high: Any
) -> SeriesSummary:
    return SeriesSummary(text(key), count, step, from_column(value), low, high)
