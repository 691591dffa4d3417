"""The series of a run as they count: those of a task's attempts under one key are one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


def find_members(connection: sqlite3.Connection, run_no: int, attempt: int | None = None) -> None:
    """Make the temporary table `member`: which series belong together, named by their first.

    With an attempt, it has the series of that one alone.
    """
    connection.execute(
        "CREATE TEMPORARY TABLE member "
        "(series_no INTEGER PRIMARY KEY, task_no INTEGER, first INTEGER)"
    )
    connection.execute(
        "INSERT INTO temp.member SELECT series_no, task_no, "
        "min(series_no) OVER (PARTITION BY task_no, key) FROM main.series "
        "WHERE run_no = ? AND attempt = ifnull(?, attempt)",
        (run_no, attempt),
    )
