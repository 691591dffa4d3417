"""Dead letters in the store: what a backend refused, where it stands in the run log, and why."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog import values
from steplog.store_reader import text
from steplogd.store.run_logs import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from steplogd.store.database import Database

_CHOSEN: Final = (
    "backend IN (SELECT value FROM json_each(:backends)) AND (:run_id IS NULL "
    "OR run_no = (SELECT run_no FROM run WHERE run_id = :run_id))"
)

_LETTERS: Final = (
    "SELECT backend, (SELECT run_id FROM run WHERE run_no = dead_letter.run_no), position, path, "
    "attempt, key, step, observation.ts, value, reason, dead_letter.ts, is_due FROM dead_letter "
    "LEFT JOIN observation USING (run_no, position) LEFT JOIN series USING (run_no, series_no) "
    "LEFT JOIN task USING (run_no, task_no)"
)


class Letter(msgspec.Struct, frozen=True):
    """One dead letter; at position 0, the run's own state, it has no task and no value.

    Attributes:
        backend: Who refused it.
        run_id: Of which run it is.
        position: Of the observation in the run log.
        task: The names from the outermost task to the one that tracked it.
        attempt: The task's attempt.
        key: The name of what was observed.
        step: At which step.
        ts: When it was tracked, in microseconds since the epoch; None for the run's own state.
        value: What was tracked.
        reason: Why it was refused, the last time.
        refused_ts: When that was.
        is_due: Whether somebody asked for it to be sent once more.
    """

    backend: str
    run_id: str
    position: int
    task: tuple[str, ...]
    attempt: int
    key: str
    step: int
    ts: int | None
    value: Any
    reason: str
    refused_ts: int
    is_due: bool


class Letters:
    """The dead letters of all backends; safe to use from any thread, beside a daemon too."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def backends(self) -> list[str]:
        """Return the backends that have any."""
        with self._database.reading() as connection:
            sql = "SELECT DISTINCT backend FROM dead_letter ORDER BY backend"
            return [name for (name,) in connection.execute(sql)]

    def of(self, backends: Collection[str], run_id: str | None = None) -> list[Letter]:
        """Return those of these backends, and of one run or all, in the order of the run logs."""
        sql = f"{_LETTERS} WHERE {_CHOSEN} ORDER BY backend, run_no, position"
        with self._database.reading() as connection:
            return [_letter(row) for row in connection.execute(sql, _choice(backends, run_id))]

    def mark_due(self, backends: Collection[str], run_id: str | None = None) -> int:
        """Have these sent once more; return how many they are."""
        with self._database.transaction() as connection:
            sql = f"UPDATE dead_letter SET is_due = 1 WHERE {_CHOSEN}"  # noqa: S608
            return connection.execute(sql, _choice(backends, run_id)).rowcount

    def discard(self, backends: Collection[str], run_id: str | None = None) -> int:
        """Forget these, though not what the run log has of them; return how many they were."""
        with self._database.transaction() as connection:
            sql = f"DELETE FROM dead_letter WHERE {_CHOSEN}"  # noqa: S608
            return connection.execute(sql, _choice(backends, run_id)).rowcount


def set_aside(
    connection: sqlite3.Connection, backend: str, run_no: int, reasons: Mapping[int, str]
) -> None:
    """Write dead letters, within the caller's transaction: the reason for each position."""
    now = time.time_ns() // 1000
    letters = [(backend, run_no, position, clean(why), now) for position, why in reasons.items()]
    connection.executemany("INSERT OR REPLACE INTO dead_letter VALUES (?, ?, ?, ?, ?, 0)", letters)


def answer(
    connection: sqlite3.Connection,
    backend: str,
    run_no: int,
    positions: Sequence[int],
    refusal: str = "",
) -> None:
    """Delete letters that were taken after all, or renew those that were refused once more.

    Those that are not there any more stay away: somebody discarded them.
    """
    now = time.time_ns() // 1000
    places = [(backend, run_no, position) for position in positions]
    where = "WHERE backend = ? AND run_no = ? AND position = ?"
    if not refusal:
        connection.executemany(f"DELETE FROM dead_letter {where}", places)  # noqa: S608
        return
    connection.executemany(
        f"UPDATE dead_letter SET reason = ?, ts = ?, is_due = 0 {where}",  # noqa: S608
        [(clean(refusal), now, *place) for place in places],
    )


def _choice(backends: Collection[str], run_id: str | None) -> dict[str, str | None]:
    return {"backends": json.dumps(list(backends)), "run_id": run_id}


def _letter(row: tuple[Any, ...]) -> Letter:
    backend, run_id, position, path, attempt, key, step, ts, value, *refusal = row
    reason, refused_ts, is_due = refusal
    return Letter(
        backend=backend,
        run_id=run_id,
        position=position,
        task=tuple(json.loads(path or "[]")),
        attempt=attempt or 0,
        key=text(key or ""),
        step=step or 0,
        ts=ts,
        value=None if value is None else values.from_column(value),
        reason=reason,
        refused_ts=refused_ts,
        is_due=bool(is_due),
    )
