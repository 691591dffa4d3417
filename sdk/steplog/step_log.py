"""The step log of a task: its code, attempts, metrics and catalog, built lazily from the store."""

from __future__ import annotations

from itertools import chain, groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.documents import Items, Members
from steplog.series import find_members
from steplog.store_reader import rows, text
from steplog.times import show_duration, show_time
from steplog.values import from_column, map_from_json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from steplog.store_reader import RunRow

NEVER_ENTERED: Final = -2
"""The number of a task that is there because of those nested in it."""

_WHOLE_RUN: Final = -1
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


class Task(msgspec.Struct, frozen=True):
    """A task as the document shows it.

    Attributes:
        task_no: Its number in the run.
        path: The names from the outermost task to it.
        status: PROCESSING, SUCCESS or FAIL.
        message: Why it failed; "" otherwise.
        step_type: What kind of step it is.
        mock: Whether it was skipped on purpose.
        attempt: The only attempt to show; None for all.
    """

    task_no: int
    path: tuple[str, ...]
    status: str
    message: str
    step_type: str = "task"
    mock: bool = False
    attempt: int | None = None


def find_latest(connection: sqlite3.Connection, run_no: int, attempt: int | None) -> None:
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


def step_log(connection: sqlite3.Connection, run_no: int, task: Task) -> dict[str, Any]:
    """Return the step log of a task, without branches; `find_latest` was called before."""
    log = _bare_step_log(task)
    log["code_identities"] = Items(_code(connection, run_no, task.task_no))
    log["attempts"] = Items(_attempts(connection, run_no, task))
    log["user_defined_metrics"] = Members(_metrics(connection, run_no, task.task_no))
    log["data_catalog"] = Items(_catalog(connection, run_no, task.task_no))
    return log


def terminal_step_log(connection: sqlite3.Connection, run: RunRow, name: str) -> dict[str, Any]:
    """Return the step log that says how the run ended."""
    end = run.start_ts if run.end_ts is None else run.end_ts
    log = _bare_step_log(Task(_WHOLE_RUN, (name,), run.status, run.message, name))
    log["code_identities"] = Items(_code(connection, run.run_no, _WHOLE_RUN))
    log["attempts"] = [_attempt(1, (end, end), run.status, run.message)]
    return log


def _bare_step_log(task: Task) -> dict[str, Any]:
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


def _attempts(connection: sqlite3.Connection, run_no: int, task: Task) -> Iterator[dict[str, Any]]:
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
