"""Observations in the store, read as a tracker is to get them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from steplog import values
from steplog.store_reader import text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from steplogd.store.database import Database

_PAGE_OBSERVATIONS: Final = 1000
_PAGE_BYTES: Final = 4 * 1024 * 1024
_NUMBER_BYTES: Final = 16  # about what a number and its step take in a request

ObservationRow = tuple[int, tuple[str, ...], int, str, int, int, Any]
"""An observation: position, path, attempt, key, step, ts, value."""


def run_row(connection: sqlite3.Connection, run_no: int) -> dict[str, Any]:
    """Return a run's row by column, its parameters decoded."""
    cursor = connection.execute("SELECT * FROM run WHERE run_no = ?", (run_no,))
    names = [description[0] for description in cursor.description]
    run = dict(zip(names, cursor.fetchone(), strict=True))
    run["parameters"] = values.map_from_json(run["parameters"])
    return run


def observations_after(
    connection: sqlite3.Connection, run_no: int, after: int, count: int, size_bytes: int
) -> list[ObservationRow]:
    """Return a run's next observations: at most `count`, and about `size_bytes` of values.

    One is returned however large it is.
    """
    sql = (
        "SELECT position, series_no, step, ts, value FROM observation "
        "WHERE run_no = ? AND position > ? ORDER BY position LIMIT ?"
    )
    return _decoded(connection, run_no, connection.execute(sql, (run_no, after, count)), size_bytes)


def observations_between(
    database: Database, run_no: int, after: int, last: int
) -> Iterator[ObservationRow]:
    """Go through a run's observations between two positions, the second one included."""
    while after < last:
        count = min(_PAGE_OBSERVATIONS, last - after)
        with database.reading() as connection:
            rows = observations_after(connection, run_no, after, count, _PAGE_BYTES)
        if not rows:
            return
        yield from rows
        after = rows[-1][0]


def due_observations(
    connection: sqlite3.Connection, backend: str, run_no: int, count: int, size_bytes: int
) -> list[ObservationRow]:
    """Return those that are dead letters to be sent once more; limited likewise."""
    sql = (
        "SELECT observation.position, series_no, step, observation.ts, value "
        "FROM dead_letter JOIN observation USING (run_no, position) "
        "WHERE backend = ? AND run_no = ? AND is_due ORDER BY position LIMIT ?"
    )
    rows = connection.execute(sql, (backend, run_no, count))
    return _decoded(connection, run_no, rows, size_bytes)


def _decoded(
    connection: sqlite3.Connection, run_no: int, columns: Iterable[tuple[Any, ...]], size_bytes: int
) -> list[ObservationRow]:
    rows: list[ObservationRow] = []
    series: dict[int, tuple[tuple[str, ...], int, str]] = {}
    for position, series_no, step, ts, value in columns:
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
    known[series_no] = tuple(json.loads(path)), attempt, text(key)
    return known[series_no]
