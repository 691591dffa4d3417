"""The run log of a run as one document: built lazily, read back whole or written in a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.documents import Members, materialise, write_json
from steplog.run_config import run_config
from steplog.step_log import NEVER_ENTERED, Task, find_latest, step_log, terminal_step_log
from steplog.store_reader import find_run, rows, snapshot, task_path, tasks_of_attempt, text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from steplog.store_reader import RunRow

PROCESSING: Final = "PROCESSING"


def read_run_log(
    source: Path | sqlite3.Connection, run_id: str, attempt: int | None = None
) -> dict[str, Any]:
    """Return the document, with the values as they were tracked: NaN is the float.

    Args:
        source: The home, or an open connection to its store.
        run_id: The run; it may still go on.
        attempt: Of each task only this attempt, and what was tracked in it. Tasks without it are
            left out; one that has it within a task that has not stands under a bare step log.

    Raises:
        InvalidName: The run id is none.
        RunNotFound: The run log has no such run.
        AttemptNotFound: No task of the run has this attempt.
        StoreUnreadable: The store is missing, of another version, or cannot be read.
    """
    with snapshot(source) as connection:
        document: dict[str, Any] = materialise(_document(connection, run_id, attempt))
        return document


def write_run_log(
    source: Path | sqlite3.Connection,
    run_id: str,
    write: Callable[[str], object],
    attempt: int | None = None,
) -> None:
    """Write the document as indented JSON in ASCII, with an LF at the end.

    It is as of one moment, and memory does not grow with the length of the run: `write` is called
    with some 64 KiB at a time, and a temporary file of SQLite's holds what is to be sorted.

    Raises:
        InvalidName, RunNotFound, AttemptNotFound, StoreUnreadable: As `read_run_log`.
        Exception: What `write` raises; a part of the document may have been written.
    """
    with snapshot(source) as connection:
        write_json(_document(connection, run_id, attempt), write)


def _document(connection: sqlite3.Connection, run_id: str, attempt: int | None) -> dict[str, Any]:
    run = find_run(connection, run_id)
    tasks = _tasks(connection, run.run_no)
    shown = tasks if attempt is None else _of_attempt(connection, run, tasks, attempt)
    find_latest(connection, run.run_no, attempt)
    config = run_config(run, _trackers(connection), (task.path for task in tasks))
    return {
        "run_id": run.run_id,
        "dag_hash": config["dag_hash"],
        "use_cached": config["use_cached"],
        "tag": run.tag,
        "original_run_id": config["original_run_id"],
        "status": run.status,
        "steps": Members(_steps(connection, run, shown)),
        "parameters": run.parameters,
        "run_config": config,
    }


def _tasks(connection: sqlite3.Connection, run_no: int) -> list[Task]:
    sql = (
        "SELECT task_no, path, status, message, step_type, mock FROM task "
        "WHERE run_no = ? ORDER BY task_no"
    )
    return [
        Task(task_no, task_path(path), status, text(message), text(step_type), bool(mock))
        for task_no, path, status, message, step_type, mock in rows(connection, sql, run_no)
    ]


def _of_attempt(
    connection: sqlite3.Connection, run: RunRow, tasks: list[Task], attempt: int
) -> list[Task]:
    """Return the tasks that have this attempt, to show no other."""
    having = tasks_of_attempt(connection, run, attempt)
    replace = msgspec.structs.replace
    return [replace(task, attempt=attempt) for task in tasks if task.task_no in having]


def _trackers(connection: sqlite3.Connection) -> list[str]:
    """Return the types of the backends that the daemon delivers to, each once."""
    sql = "SELECT type FROM backend WHERE place IS NOT NULL GROUP BY type ORDER BY min(place)"
    return [kind for (kind,) in rows(connection, sql)]


def _steps(
    connection: sqlite3.Connection, run: RunRow, tasks: list[Task]
) -> Iterator[tuple[str, Any]]:
    families: dict[str, list[Task]] = {}
    for task in tasks:
        families.setdefault(task.path[0], []).append(task)
    for name, family in families.items():
        yield name, _family(connection, run.run_no, family)
    terminal = {"SUCCESS": "success", "FAIL": "fail"}.get(run.status)
    kinds = {task.step_type for task in tasks if len(task.path) == 1}
    # A task of that name, or one that is the run's terminal step, is worth more than the marker.
    if terminal and terminal not in families.keys() | kinds:
        yield terminal, terminal_step_log(connection, run, terminal)


def _family(connection: sqlite3.Connection, run_no: int, family: list[Task]) -> dict[str, Any]:
    """Return the step log of an outermost task, with all that are nested in it as its branches."""
    nested = [task for task in family if len(task.path) > 1]
    own = next((task for task in family if len(task.path) == 1), None)
    if own is None:  # only tasks within it were ever entered
        own = Task(NEVER_ENTERED, family[0].path[:1], _common_status(nested), "")
    log = step_log(connection, run_no, own)
    log["branches"] = Members(_branches(connection, run_no, nested))
    return log


def _branches(
    connection: sqlite3.Connection, run_no: int, nested: list[Task]
) -> Iterator[tuple[str, Any]]:
    taken: set[str] = set()
    for task in nested:
        name = ".".join(task.path)
        while name in taken:  # the path a, b.c reads like a, b, c
            name += "~"
        taken.add(name)
        yield name, step_log(connection, run_no, task)


def _common_status(tasks: list[Task]) -> str:
    statuses = {task.status for task in tasks}
    return next((status for status in (PROCESSING, "FAIL") if status in statuses), "SUCCESS")
