"""Run logs in the store: a run loaded as the fold left it, and committed with its checkpoint."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog import values
from steplog.store_reader import text
from steplogd.core.state import Attempt, Changes, RunState, Task, Writer
from steplogd.store.archived import ArchivedSpool, write_archived

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from steplogd.core.state import Row
    from steplogd.store.database import Database

MAX_EXCERPT_BYTES: Final = 4096
"""How much of a malformed line the store keeps; the spool has it all."""

MOST_GAPS: Final = 100
"""How many gaps of a run are named; all are counted."""

ROWS_A_STATEMENT: Final = 50
"""How many observations are inserted at once: more gain no more, and some builds of SQLite take no
more than 999 parameters."""

# The same text for every run: to compile it takes as long as to insert hundreds of observations.
_MANY_ROWS: Final = ", ".join(["(?, ?, ?, ?, ?)"] * ROWS_A_STATEMENT)
_INSERT_MANY: Final = f"INSERT INTO observation SELECT ?, * FROM (VALUES {_MANY_ROWS})"  # noqa: S608

_RUN_COLUMNS: Final = (
    "run_id tag status killed message start_ts end_ts parameters config position revision "
    "lost gaps repeated unknown malformed"
).split()


class FoldedRun(msgspec.Struct):
    """A run's state with what the store knows of it: its number, how far its spool is folded.

    Attributes:
        mark: What the spool is known by at that place; empty where that is not known.
        archived: The archived spool that was folded on since the last commit, and not its spool.
        is_partly_unread: Whether there is more to be folded of its archived spools.
    """

    run_no: int
    state: RunState
    offset: int
    mark: bytes = b""
    archived: ArchivedSpool | None = None
    is_partly_unread: bool = False


class RunLogs:
    """Loads and commits runs; safe to use from any thread, one run from one at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def checkpoints(self) -> dict[str, tuple[int, bytes]]:
        """Return how many bytes of each spool are folded, if any, and the mark there, by run id.

        They come in the order of the runs' numbers, as both tables lie. SQLite by itself would go
        by run ids and jump: with more runs than its cache holds, that reads a page for each.
        """
        sql = (
            "SELECT run_id, offset, mark FROM checkpoint CROSS JOIN run USING (run_no) "
            "WHERE offset > 0"
        )
        with self._database.reading() as connection:
            return {run_id: (offset, mark) for run_id, offset, mark in connection.execute(sql)}

    def open_runs(self) -> list[str]:
        """Return the ids of the runs that have not ended."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT run_id FROM run WHERE status = 'PROCESSING'")
            return [run_id for (run_id,) in rows]

    def load(self, run_id: str) -> FoldedRun:
        """Return a run as it was committed last; a new one has number 0 until its first commit."""
        with self._database.reading() as connection:
            row = connection.execute(
                f"SELECT run_no, offset, mark, last_ts, {', '.join(_RUN_COLUMNS)} "  # noqa: S608
                "FROM run JOIN checkpoint USING (run_no) WHERE run_id = ?",
                (run_id,),
            ).fetchone()
            if row is None:
                return FoldedRun(0, RunState(run_id), 0)
            run_no, offset, mark, last_ts, *columns = row
            state = _state(dict(zip(_RUN_COLUMNS, columns, strict=True)), last_ts)
            _load_tasks(connection, run_no, state)
            _load_series(connection, run_no, state)
            _load_writers(connection, run_no, state)
        return FoldedRun(run_no, state, offset, mark)

    def check_sound(self) -> None:
        """Read the whole store, and see that it is in order.

        Raises:
            StoreUnusable: It is broken.
            StoreError: It cannot be read now.
        """
        self._database.check_sound()

    def commit(self, folded: Iterable[tuple[FoldedRun, Changes]]) -> None:
        """Commit runs, their changes and their checkpoints, all or nothing.

        On return they are durable against the kill of any process. A new run gets its number.

        Raises:
            StoreError: Nothing was committed; load the runs again before folding on.
        """
        with self._database.transaction() as connection:
            for run, changes in folded:
                _write_run(connection, run)
                _write_changes(connection, run, changes)


def _state(row: dict[str, Any], last_ts: int) -> RunState:
    row["parameters"] = values.map_from_json(row["parameters"])
    row["config"] = values.map_from_json(row["config"])
    row["killed"] = bool(row["killed"])
    return RunState(**row, last_ts=last_ts)


def _load_tasks(connection: sqlite3.Connection, run_no: int, state: RunState) -> None:
    sql = (
        "SELECT task_no, path, status, message, step_type, mock FROM task "
        "WHERE run_no = ? ORDER BY task_no"
    )
    for task_no, path, status, message, kind, mock in connection.execute(sql, (run_no,)):
        task = Task(task_no, tuple(json.loads(path)), status, message, kind, bool(mock))
        state.tasks.append(task)
        state.task_by_path[task.path] = task
    sql = (
        "SELECT task_no, number, start_ts, end_ts, status, message, parameters FROM attempt "
        "WHERE run_no = ? ORDER BY task_no, number"
    )
    for task_no, number, start_ts, end_ts, status, message, parameters in connection.execute(
        sql, (run_no,)
    ):  # the last one of each task stays
        content = values.map_from_json(parameters)
        attempt = Attempt(number, start_ts, end_ts, status, message, content)
        state.tasks[task_no].attempt = attempt


def _load_series(connection: sqlite3.Connection, run_no: int, state: RunState) -> None:
    sql = "SELECT series_no, task_no, attempt, key FROM series WHERE run_no = ?"
    for series_no, task_no, attempt, key in connection.execute(sql, (run_no,)):
        state.series.setdefault((task_no, attempt), {})[text(key)] = series_no
        state.series_count += 1


def _load_writers(connection: sqlite3.Connection, run_no: int, state: RunState) -> None:
    sql = "SELECT w, next_n, presence, status, of, worker, inside FROM writer WHERE run_no = ?"
    for w, next_n, presence, status, of, worker, inside in connection.execute(sql, (run_no,)):
        tasks = dict(json.loads(inside))
        name, owner = text(w), text(of)
        state.writers[name] = Writer(name, next_n, presence, status, owner, bool(worker), tasks)
        for task_no, times in tasks.items():
            state.tasks[task_no].occupants += times


def _write_run(connection: sqlite3.Connection, run: FoldedRun) -> None:
    state = run.state
    columns: dict[str, Any] = {name: getattr(state, name) for name in _RUN_COLUMNS}
    columns["tag"], columns["message"] = clean(state.tag), clean(state.message)
    columns["parameters"] = values.to_json(state.parameters).decode()
    columns["config"] = values.to_json(state.config).decode()
    columns["spooled"] = int(run.offset > 0)
    if run.run_no == 0:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        cursor = connection.execute(
            f"INSERT INTO run ({names}) VALUES ({marks})",  # noqa: S608
            list(columns.values()),
        )
        run.run_no = cursor.lastrowid or 0
    else:
        settings = ", ".join(f"{name} = ?" for name in columns)
        connection.execute(
            f"UPDATE run SET {settings} WHERE run_no = ?",  # noqa: S608
            [*columns.values(), run.run_no],
        )
    connection.execute(
        "INSERT OR REPLACE INTO checkpoint (run_no, offset, last_ts, mark) VALUES (?, ?, ?, ?)",
        (run.run_no, run.offset, state.last_ts, run.mark),
    )
    if run.archived is not None:
        write_archived(connection, run.run_no, run.archived)
    if not run.is_partly_unread:
        connection.execute(
            "UPDATE doubt SET position = ? WHERE run_id = ? AND position IS NULL AND size <= ?",
            (state.position, state.run_id, run.offset),
        )


def _write_changes(connection: sqlite3.Connection, run: FoldedRun, changes: Changes) -> None:
    run_no, state = run.run_no, run.state
    _write_observations(connection, run_no, changes.observations)
    series = [(run_no, no, task, attempt, column(key)) for no, task, attempt, key in changes.series]
    connection.executemany("INSERT INTO series VALUES (?, ?, ?, ?, ?)", series)
    tasks = [_task_row(run_no, state.tasks[task_no]) for task_no in changes.tasks]
    connection.executemany("INSERT OR REPLACE INTO task VALUES (?,?,?,?,?,?,?)", tasks)
    attempts = [_attempt_row(run_no, no, attempt) for (no, _), attempt in changes.attempts.items()]
    connection.executemany("INSERT OR REPLACE INTO attempt VALUES (?,?,?,?,?,?,?,?)", attempts)
    writers = [_writer_row(run_no, state.writers[w]) for w in changes.writers]
    connection.executemany("INSERT OR REPLACE INTO writer VALUES (?,?,?,?,?,?,?,?)", writers)
    codes = [(run_no, no, values.to_json(code).decode()) for no, code in changes.codes]
    connection.executemany("INSERT OR REPLACE INTO code VALUES (?, ?, ?)", codes)
    entries = [
        (run_no, no, clean(entry["name"]), values.to_json(entry).decode())
        for no, entry in changes.catalog
    ]
    connection.executemany("INSERT OR REPLACE INTO catalog VALUES (?, ?, ?, ?)", entries)
    torn = [
        (run_no, bad.offset, len(bad.line), clean(bad.reason), bad.line[:MAX_EXCERPT_BYTES])
        for bad in changes.set_aside
    ]
    connection.executemany("INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?, ?, ?)", torn)
    if changes.gaps:
        sql = "SELECT count(*) FROM gap WHERE run_no = ?"
        (known,) = connection.execute(sql, (run_no,)).fetchone()
        gaps = [(run_no, column(w), *gap) for w, *gap in changes.gaps[: MOST_GAPS - known]]
        connection.executemany("INSERT OR REPLACE INTO gap VALUES (?, ?, ?, ?)", gaps)


def _write_observations(connection: sqlite3.Connection, run_no: int, rows: list[Row]) -> None:
    """Add observations, many with one statement: that halves what each costs."""
    whole = len(rows) - len(rows) % ROWS_A_STATEMENT
    many = (rows[first : first + ROWS_A_STATEMENT] for first in range(0, whole, ROWS_A_STATEMENT))
    connection.executemany(
        _INSERT_MANY, ([run_no, *itertools.chain.from_iterable(some)] for some in many)
    )
    connection.executemany(
        "INSERT INTO observation VALUES (?, ?, ?, ?, ?, ?)",
        ((run_no, *row) for row in rows[whole:]),
    )


def _task_row(run_no: int, task: Task) -> tuple[Any, ...]:
    told = task.status, clean(task.message), clean(task.step_type), int(task.mock)
    return run_no, task.no, json.dumps(task.path), *told


def _attempt_row(run_no: int, task_no: int, attempt: Attempt) -> tuple[Any, ...]:
    parameters = values.to_json(attempt.parameters).decode()
    times = attempt.start_ts, attempt.end_ts
    return (
        run_no,
        task_no,
        attempt.number,
        *times,
        attempt.status,
        clean(attempt.message),
        parameters,
    )


def _writer_row(run_no: int, writer: Writer) -> tuple[Any, ...]:
    inside = json.dumps(list(writer.inside.items()))
    who = run_no, column(writer.w), writer.next_n, writer.presence, writer.status
    return *who, column(writer.of), int(writer.worker), inside


def clean(text: str) -> str:
    """Replace lone surrogates, which SQLite's UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def column(key: str) -> str | bytes:
    """Return a key as SQLite keeps it without loss: as bytes when lone surrogates are in it."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return key.encode("utf-8", "surrogatepass")
    return key
