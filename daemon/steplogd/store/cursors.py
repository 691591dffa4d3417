"""Delivery in the store: what a backend still owes, its cursors, its dead letters, its health."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog import values
from steplogd.store.run_logs import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from steplogd.store.database import Database

_NUMBER_BYTES: Final = 16  # about what a number and its step take in a request


# A run of which nothing is known yet, as no line of it was an event, is owed to nobody.
_BEHIND: Final = (
    "FROM run LEFT JOIN cursor ON cursor.run_no = run.run_no AND backend = ? "
    "WHERE coalesce(cursor.position, 0) < run.position "
    "OR coalesce(cursor.revision, 0) < run.revision"
)

Owed = dict[int, tuple[int, int]]
"""The position and revision that a run stands at, by its number."""


class Pending(msgspec.Struct, frozen=True):
    """What a backend owes a run.

    Attributes:
        run: The run's row, by column.
        rows: Observations after the cursor: position, path, attempt, key, step, ts, value.
        is_settled: Whether the run's own state, as it is now, was sent before.
    """

    run: dict[str, Any]
    rows: list[tuple[int, tuple[str, ...], int, str, int, int, Any]]
    is_settled: bool


class Backlog(msgspec.Struct, frozen=True):
    """How far one backend is behind."""

    backend: str
    runs: int
    observations: int
    dead_letters: int
    failing_since: int | None
    error: str


class Cursors:
    """Cursors, dead letters and health of all backends; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def behind(self, backend: str) -> list[int]:
        """Return the numbers of the runs that a backend is behind with, oldest first."""
        return list(self.owed(backend))

    def owed(self, backend: str) -> Owed:
        """Return where the runs stand that a backend is behind with, oldest first."""
        sql = f"SELECT run.run_no, run.position, run.revision {_BEHIND} ORDER BY run.run_no"
        with self._database.reading() as connection:
            rows = connection.execute(sql, (backend,))
            return {run_no: (position, revision) for run_no, position, revision in rows}

    def still_owed(self, backend: str, owed: Owed) -> Owed:
        """Return what of this a backend has not had yet."""
        sql = "SELECT run_no, position, revision FROM cursor WHERE backend = ?"
        with self._database.reading() as connection:
            rows = connection.execute(sql, (backend,))
            cursors = {run_no: (position, revision) for run_no, position, revision in rows}
        return {run_no: goal for run_no, goal in owed.items() if _is_short(cursors, run_no, goal)}

    def pending(self, backend: str, run_no: int, count: int, size_bytes: int) -> Pending:
        """Return the next observations that a backend owes a run.

        Args:
            backend: The backend's name.
            run_no: The run's number.
            count: The most observations.
            size_bytes: About how large their values may be together; one is always returned.
        """
        with self._database.reading() as connection:
            connection.execute("BEGIN")  # the run's row and its observations, as of one moment
            try:
                run = _run(connection, run_no)
                position, revision = _cursor(connection, backend, run_no)
                rows = _rows(connection, run_no, position, count, size_bytes)
            finally:
                connection.execute("COMMIT")
        return Pending(run, rows, revision >= run["revision"])

    def acknowledge(
        self, backend: str, run_no: int, position: int, dead: dict[int, str] | None = None
    ) -> None:
        """Move a cursor on: all observations up to this position are delivered, or dead letters.

        Args:
            backend: The backend's name.
            run_no: The run's number.
            position: Of the last observation.
            dead: The reason for each position that the backend refused.
        """
        now = time.time_ns() // 1000
        letters = [(backend, run_no, at, clean(why), now) for at, why in (dead or {}).items()]
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO dead_letter VALUES (?, ?, ?, ?, ?, 0)", letters
            )
            connection.execute(
                "INSERT INTO cursor VALUES (?, ?, ?, 0, 0) ON CONFLICT (backend, run_no) "
                "DO UPDATE SET position = max(position, excluded.position)",
                (backend, run_no, position),
            )

    def settle(self, backend: str, run_no: int, revision: int, refusal: str = "") -> None:
        """Note that a backend has the run's own state of a revision, or has refused it."""
        now = time.time_ns() // 1000
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO cursor VALUES (?, ?, 0, ?, 0) ON CONFLICT (backend, run_no) "
                "DO UPDATE SET revision = max(revision, excluded.revision)",
                (backend, run_no, revision),
            )
            connection.execute(
                "DELETE FROM dead_letter WHERE backend = ? AND run_no = ? AND position = 0",
                (backend, run_no),
            )
            if refusal:
                connection.execute(
                    "INSERT INTO dead_letter VALUES (?, ?, 0, ?, ?, 0)",
                    (backend, run_no, clean(refusal), now),
                )

    def configure(self, backends: Sequence[tuple[str, str]]) -> None:
        """Note which backends this daemon delivers to: name and type, in their order."""
        rows = [(name, kind, place) for place, (name, kind) in enumerate(backends)]
        with self._database.transaction() as connection:
            connection.execute("UPDATE backend SET place = NULL")
            connection.executemany(
                "INSERT INTO backend VALUES (?, ?, ?, NULL, '') ON CONFLICT (name) "
                "DO UPDATE SET type = excluded.type, place = excluded.place",
                rows,
            )

    def note_counterpart(self, backend: str, run_no: int, address: dict[str, str]) -> None:
        """Note where a client in a task finds the run in the tracker."""
        row = (backend, run_no, json.dumps(address))
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO counterpart VALUES (?, ?, ?)", row)

    def note_health(self, backend: str, error: str) -> None:
        """Note since when a backend has failed, and how; or that it answers, with no error."""
        now = time.time_ns() // 1000 if error else None
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE backend SET error = :error, failing_since = CASE WHEN :now IS NULL "
                "THEN NULL ELSE coalesce(failing_since, :now) END WHERE name = :name",
                {"name": backend, "now": now, "error": clean(error)},
            )

    def backlog(self, backend: str) -> Backlog:
        """Return how far a backend is behind."""
        sql = (
            "SELECT count(*), coalesce(sum(run.position - coalesce(cursor.position, 0)), 0) "
            + _BEHIND
        )
        with self._database.reading() as connection:
            runs, observations = connection.execute(sql, (backend,)).fetchone()
            (dead,) = connection.execute(
                "SELECT count(*) FROM dead_letter WHERE backend = ?", (backend,)
            ).fetchone()
            health = connection.execute(
                "SELECT failing_since, error FROM backend WHERE name = ?", (backend,)
            ).fetchone()
        return Backlog(backend, runs, observations, dead, *(health or (None, "")))


def _is_short(cursors: Owed, run_no: int, goal: tuple[int, int]) -> bool:
    position, revision = cursors.get(run_no, (0, 0))
    return position < goal[0] or revision < goal[1]


def _run(connection: sqlite3.Connection, run_no: int) -> dict[str, Any]:
    cursor = connection.execute("SELECT * FROM run WHERE run_no = ?", (run_no,))
    names = [description[0] for description in cursor.description]
    run = dict(zip(names, cursor.fetchone(), strict=True))
    run["parameters"] = values.map_from_json(run["parameters"])
    return run


def _cursor(connection: sqlite3.Connection, backend: str, run_no: int) -> tuple[int, int]:
    sql = "SELECT position, revision FROM cursor WHERE backend = ? AND run_no = ?"
    row = connection.execute(sql, (backend, run_no)).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def _rows(
    connection: sqlite3.Connection, run_no: int, after: int, count: int, size_bytes: int
) -> list[tuple[int, tuple[str, ...], int, str, int, int, Any]]:
    sql = (
        "SELECT position, series_no, step, ts, value FROM observation "
        "WHERE run_no = ? AND position > ? ORDER BY position LIMIT ?"
    )
    rows: list[tuple[int, tuple[str, ...], int, str, int, int, Any]] = []
    series: dict[int, tuple[tuple[str, ...], int, str]] = {}
    cursor = connection.execute(sql, (run_no, after, count))
    for position, series_no, step, ts, value in cursor:
        path, attempt, key = series.get(series_no) or _series(connection, run_no, series_no, series)
        size_bytes -= len(value) if isinstance(value, str) else _NUMBER_BYTES
        if rows and size_bytes < 0:
            break
        rows.append((position, path, attempt, key, step, ts, values.from_column(value)))
    return rows


def _series(
    connection: sqlite3.Connection,
    run_no: int,
    series_no: int,
    known: dict[int, tuple[tuple[str, ...], int, str]],
) -> tuple[tuple[str, ...], int, str]:
    sql = (
        "SELECT path, attempt, key FROM series JOIN task USING (run_no, task_no) "
        "WHERE run_no = ? AND series_no = ?"
    )
    path, attempt, key = connection.execute(sql, (run_no, series_no)).fetchone()
    name = key if isinstance(key, str) else key.decode("utf-8", "surrogatepass")
    known[series_no] = tuple(json.loads(path)), attempt, name
    return known[series_no]
