"""The run log of a run as one document: built lazily, read back whole or written in a stream."""

from __future__ import annotations

from itertools import chain, groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.documents import Items, Members, materialise, write_json
from steplog.run_config import run_config
from steplog.series import find_members
from steplog.store_reader import find_run, rows, snapshot, task_path, tasks_of_attempt, text
from steplog.times import show_duration, show_time
from steplog.values import from_column, map_from_json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from steplog.store_reader import RunRow

PROCESSING: Final = "PROCESSING"
_WHOLE_RUN: Final = -1
_NEVER_ENTERED: Final = -2
_CODE_FIELDS: Final = {
    "code_identifier": "",
    "code_identifier_type": "",
    "code_identifier_dependable": False,
    "code_identifier_url": "",
    "code_identifier_message": "",
}
_CATALOG_FIELDS: Final = {
    "name": "",
    "data_hash": "",
    "catalog_relative_path": "",
    "catalog_handler_location": "",
    "stage": "",
}


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


class _Task(msgspec.Struct, frozen=True):
    task_no: int
    path: tuple[str, ...]
    status: str
    message: str
    step_type: str = "task"
    mock: bool = False
    attempt: int | None = None  # the only one to show


def _document(connection: sqlite3.Connection, run_id: str, attempt: int | None) -> dict[str, Any]:
    run = find_run(connection, run_id)
    tasks = _tasks(connection, run.run_no)
    shown = tasks if attempt is None else _of_attempt(connection, run, tasks, attempt)
    _find_latest(connection, run.run_no, attempt)
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


def _tasks(connection: sqlite3.Connection, run_no: int) -> list[_Task]:
    sql = (
        "SELECT task_no, path, status, message, step_type, mock FROM task "
        "WHERE run_no = ? ORDER BY task_no"
    )
    return [
        _Task(task_no, task_path(path), status, text(message), text(step_type), bool(mock))
        for task_no, path, status, message, step_type, mock in rows(connection, sql, run_no)
    ]


def _of_attempt(
    connection: sqlite3.Connection, run: RunRow, tasks: list[_Task], attempt: int
) -> list[_Task]:
    """Return the tasks that have this attempt, to show no other."""
    having = tasks_of_attempt(connection, run, attempt)
    replace = msgspec.structs.replace
    return [replace(task, attempt=attempt) for task in tasks if task.task_no in having]


def _trackers(connection: sqlite3.Connection) -> list[str]:
    """Return the types of the backends that the daemon delivers to, each once."""
    sql = "SELECT type FROM backend WHERE place IS NOT NULL GROUP BY type ORDER BY min(place)"
    return [kind for (kind,) in rows(connection, sql)]


def _find_latest(connection: sqlite3.Connection, run_no: int, attempt: int | None) -> None:
    """Make a temporary table of the latest observation for each task, key and step.

    The table holds positions and no values, which may be long.
    """
    find_members(connection, run_no, attempt)
    connection.execute(
        "CREATE TEMPORARY TABLE latest (task_no INTEGER, first INTEGER, step INTEGER, "
        "position INTEGER, PRIMARY KEY (task_no, first, step)) WITHOUT ROWID"
    )
    # CROSS JOIN keeps SQLite to this order; another would search all observations for each series.
    connection.execute(
        "INSERT INTO temp.latest SELECT task_no, first, step, max(position) "
        "FROM main.observation AS o CROSS JOIN temp.member AS m ON m.series_no = o.series_no "
        "WHERE o.run_no = ? GROUP BY 1, 2, 3",
        (run_no,),
    )


def _steps(
    connection: sqlite3.Connection, run: RunRow, tasks: list[_Task]
) -> Iterator[tuple[str, Any]]:
    families: dict[str, list[_Task]] = {}
    for task in tasks:
        families.setdefault(task.path[0], []).append(task)
    for name, family in families.items():
        yield name, _family(connection, run.run_no, family)
    terminal = {"SUCCESS": "success", "FAIL": "fail"}.get(run.status)
    kinds = {task.step_type for task in tasks if len(task.path) == 1}
    # A task of that name, or one that is the run's terminal step, is worth more than the marker.
    if terminal and terminal not in families.keys() | kinds:
        yield terminal, _terminal(connection, run, terminal)


def _family(connection: sqlite3.Connection, run_no: int, family: list[_Task]) -> dict[str, Any]:
    """Return the step log of an outermost task, with all that are nested in it as its branches."""
    nested = [task for task in family if len(task.path) > 1]
    own = next((task for task in family if len(task.path) == 1), None)
    if own is None:  # only tasks within it were ever entered
        own = _Task(_NEVER_ENTERED, family[0].path[:1], _common_status(nested), "")
    step_log = _step_log(connection, run_no, own)
    step_log["branches"] = Members(_branches(connection, run_no, nested))
    return step_log


def _branches(
    connection: sqlite3.Connection, run_no: int, nested: list[_Task]
) -> Iterator[tuple[str, Any]]:
    taken: set[str] = set()
    for task in nested:
        name = ".".join(task.path)
        while name in taken:  # the path a, b.c reads like a, b, c
            name += "~"
        taken.add(name)
        yield name, _step_log(connection, run_no, task)


def _common_status(tasks: list[_Task]) -> str:
    statuses = {task.status for task in tasks}
    return next((status for status in (PROCESSING, "FAIL") if status in statuses), "SUCCESS")


def _step_log(connection: sqlite3.Connection, run_no: int, task: _Task) -> dict[str, Any]:
    step_log = _bare_step_log(task)
    step_log["code_identities"] = Items(_code(connection, run_no, task.task_no))
    step_log["attempts"] = Items(_attempts(connection, run_no, task))
    step_log["user_defined_metrics"] = Members(_metrics(connection, run_no, task.task_no))
    step_log["data_catalog"] = Items(_catalog(connection, run_no, task.task_no))
    return step_log


def _terminal(connection: sqlite3.Connection, run: RunRow, name: str) -> dict[str, Any]:
    """Return the step log that says how the run ended."""
    end = run.start_ts if run.end_ts is None else run.end_ts
    step_log = _bare_step_log(_Task(_WHOLE_RUN, (name,), run.status, run.message, name))
    step_log["code_identities"] = Items(_code(connection, run.run_no, _WHOLE_RUN))
    step_log["attempts"] = [_attempt(1, (end, end), run.status, run.message)]
    return step_log


def _bare_step_log(task: _Task) -> dict[str, Any]:
    return {
        "name": task.path[-1],
        "internal_name": ".".join(task.path),
        "status": task.status,
        "step_type": task.step_type,
        "message": task.message,
        "mock": task.mock,
        "code_identities": [],
        "attempts": [],
        "user_defined_metrics": {},
        "branches": {},
        "data_catalog": [],
    }


def _code(connection: sqlite3.Connection, run_no: int, task_no: int) -> Iterator[dict[str, Any]]:
    sql = (
        "SELECT identity FROM code WHERE run_no = ? AND task_no IN (-1, ?) "
        "ORDER BY task_no, identity"
    )
    for (identity,) in rows(connection, sql, run_no, task_no):
        yield _fields(_CODE_FIELDS, identity)


def _catalog(connection: sqlite3.Connection, run_no: int, task_no: int) -> Iterator[dict[str, Any]]:
    sql = "SELECT entry FROM catalog WHERE run_no = ? AND task_no = ? ORDER BY name"
    for (entry,) in rows(connection, sql, run_no, task_no):
        yield _fields(_CATALOG_FIELDS, entry)


def _fields(fields: dict[str, Any], column: str | bytes) -> dict[str, Any]:
    """Return these fields of a JSON object in their order, the absent ones by default."""
    known = map_from_json(column)
    return {name: known.get(name, default) for name, default in fields.items()}


def _attempts(connection: sqlite3.Connection, run_no: int, task: _Task) -> Iterator[dict[str, Any]]:
    sql = (
        "SELECT number, start_ts, end_ts, status, message, parameters FROM attempt "
        "WHERE run_no = ? AND task_no = ? AND number = ifnull(?, number) ORDER BY number"
    )
    found = rows(connection, sql, run_no, task.task_no, task.attempt)
    for number, start, end, status, message, parameters in found:
        attempt = _attempt(number, (start, end), status, text(message))
        yield {**attempt, "parameters": map_from_json(parameters)}


def _attempt(
    number: int, times: tuple[int, int | None], status: str, message: str
) -> dict[str, Any]:
    start, end = times
    return {
        "attempt_number": number,
        "start_time": show_time(start),
        "end_time": None if end is None else show_time(end),
        "duration": None if end is None else show_duration(start, end),
        "status": status,
        "message": message,
        "parameters": {},
    }


def _metrics(
    connection: sqlite3.Connection, run_no: int, task_no: int
) -> Iterator[tuple[str, Any]]:
    sql = (
        "SELECT first, key, l.step, value FROM temp.latest AS l "
        "CROSS JOIN main.series AS s ON s.run_no = :run AND s.series_no = first "
        "CROSS JOIN main.observation AS o ON o.run_no = :run AND o.position = l.position "
        "WHERE l.task_no = :task ORDER BY first, l.step"
    )
    found = rows(connection, sql, {"run": run_no, "task": task_no})
    for _, group in groupby(found, key=itemgetter(0)):
        yield _metric(group)


def _metric(observations: Iterator[tuple[Any, ...]]) -> tuple[str, Any]:
    """Return a key with its value when only step 0 was tracked, else with its values by step."""
    head = list(islice(observations, 2))
    _, key, step, value = head[0]
    if len(head) == 1 and step == 0:
        return text(key), from_column(value)
    return text(key), Members(_by_step(chain(head, observations)))


def _by_step(observations: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
    for _, _, step, value in observations:
        yield str(step), from_column(value)
