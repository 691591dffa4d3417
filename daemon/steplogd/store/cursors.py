"""Delivery in the store: what a backend still owes, its cursors, and its health."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplogd.core.state import MOST
from steplogd.store.letters import answer, set_aside
from steplogd.store.observations import (
    ObservationRow,
    due_observations,
    observations_after,
    observations_between,
    run_row,
)
from steplogd.store.run_logs import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Sequence

    from steplogd.store.database import Database

_DUE: Final = "SELECT run_no FROM dead_letter WHERE backend = :backend AND is_due"

# A run of which nothing is known yet, as no line of it was an event, is owed to nobody.
_BEHIND: Final = (
    "FROM run LEFT JOIN cursor ON cursor.run_no = run.run_no AND backend = :backend "
    "WHERE coalesce(cursor.position, 0) < run.position "
    f"OR coalesce(cursor.revision, 0) < run.revision OR run.run_no IN ({_DUE})"
)

Owed = dict[int, tuple[int, int]]
"""The position and revision that a run stands at, by its number."""


class Pending(msgspec.Struct, frozen=True):
    """What a backend owes a run.

    Attributes:
        run: The run's row, by column.
        rows: Observations after the cursor.
        due: Those before it that are dead letters, and to be sent once more.
        is_settled: Whether the run's own state, as it is now, was sent before.
        replay: How often the cursor was set back: what is acknowledged must name it.
        after: Where the cursor is.
        is_doubtful: Whether the backend may hold more than its cursor says.
    """

    run: dict[str, Any]
    rows: list[ObservationRow]
    due: list[ObservationRow]
    is_settled: bool
    replay: int
    after: int
    is_doubtful: bool


class Backlog(msgspec.Struct, frozen=True):
    """How far one backend is behind; dead letters that are to be sent once more count too."""

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
            rows = connection.execute(sql, {"backend": backend})
            return {run_no: (position, revision) for run_no, position, revision in rows}

    def still_owed(self, backend: str, owed: Owed) -> Owed:
        """Return what of this a backend has not had yet."""
        sql = "SELECT run_no, position, revision FROM cursor WHERE backend = ?"
        with self._database.reading() as connection:
            rows = connection.execute(sql, (backend,))
            cursors = {run_no: (position, revision) for run_no, position, revision in rows}
            due = {run_no for (run_no,) in connection.execute(_DUE, {"backend": backend})}
        return {
            run_no: goal
            for run_no, goal in owed.items()
            if run_no in due or _is_short(cursors, run_no, goal)
        }

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
                run = run_row(connection, run_no)
                position, revision, replay = cursor_of(connection, backend, run_no)
                is_settled = revision >= run["revision"]
                is_settled &= not _is_state_due(connection, backend, run_no)
                due = due_observations(connection, backend, run_no, count, size_bytes)
                rows = observations_after(connection, run_no, position, count, size_bytes)
                is_doubtful = position < doubt_of(connection, run["run_id"])
            finally:
                connection.execute("COMMIT")
        return Pending(run, rows, due, is_settled, replay, position, is_doubtful)

    def observations(self, run_no: int, last: int) -> Iterator[ObservationRow]:
        """Go through a run's observations up to a position."""
        return observations_between(self._database, run_no, 0, last)

    def acknowledge(
        self,
        backend: str,
        run_no: int,
        position: int,
        dead: dict[int, str] | None = None,
        *,
        replay: int = 0,
    ) -> None:
        """Move a cursor on: all observations up to this position are delivered, or dead letters.

        Without effect when the cursor was set back since they were read.

        Args:
            backend: The backend's name.
            run_no: The run's number.
            position: Of the last observation.
            dead: The reason for each position that the backend refused.
            replay: As it was read with them.
        """
        with self._database.transaction() as connection:
            if cursor_of(connection, backend, run_no)[2] != replay:
                return
            set_aside(connection, backend, run_no, dead or {})
            connection.execute(
                "INSERT INTO cursor VALUES (?, ?, ?, 0, 0) ON CONFLICT (backend, run_no) "
                "DO UPDATE SET position = max(position, excluded.position)",
                (backend, run_no, position),
            )

    def retried(
        self,
        backend: str,
        run_no: int,
        positions: Sequence[int],
        refusal: str = "",
        *,
        replay: int = 0,
    ) -> None:
        """Note that a backend has taken dead letters after all, or refused them once more.

        Without effect on those that were discarded meanwhile, as on all after a replay.
        """
        with self._database.transaction() as connection:
            if cursor_of(connection, backend, run_no)[2] == replay:
                answer(connection, backend, run_no, positions, refusal)

    def settle(
        self, backend: str, run_no: int, revision: int, refusal: str = "", *, replay: int = 0
    ) -> None:
        """Note that a backend has the run's own state of a revision, or has refused it.

        Without effect when the cursor was set back since that was read.
        """
        with self._database.transaction() as connection:
            if cursor_of(connection, backend, run_no)[2] != replay:
                return
            connection.execute(
                "INSERT INTO cursor VALUES (?, ?, 0, ?, 0) ON CONFLICT (backend, run_no) "
                "DO UPDATE SET revision = max(revision, excluded.revision)",
                (backend, run_no, revision),
            )
            answer(connection, backend, run_no, [0])
            set_aside(connection, backend, run_no, {0: refusal} if refusal else {})

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

    def served(self) -> set[str]:
        """Return the backends that the daemon of this home delivers to, or did last."""
        with self._database.reading() as connection:
            sql = "SELECT name FROM backend WHERE place IS NOT NULL"
            return {name for (name,) in connection.execute(sql)}

    def note_health(self, backend: str, error: str) -> None:
        """Note since when a backend has failed, and how; or that it answers, with no error."""
        now = time.time_ns() // 1000 if error else None
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE backend SET error = :error, failing_since = CASE WHEN :now IS NULL "
                "THEN NULL ELSE coalesce(failing_since, :now) END WHERE name = :name",
                {"name": backend, "now": now, "error": clean(error)},
            )

    def observations_behind(self, backend: str, run_nos: Collection[int]) -> int:
        """Return how many observations of these runs a backend is owed; of no other it is asked."""
        sql = (
            "SELECT coalesce(sum(run.position - coalesce(cursor.position, 0)), 0) "
            "FROM json_each(?) AS one CROSS JOIN run ON run.run_no = one.value "
            "LEFT JOIN cursor ON cursor.backend = ? AND cursor.run_no = run.run_no"
        )
        with self._database.reading() as connection:
            numbers = json.dumps(list(run_nos))
            (count,) = connection.execute(sql, (numbers, backend)).fetchone()
        return int(count)

    def backlog(self, backend: str) -> Backlog:
        """Return how far a backend is behind."""
        sql = (
            "SELECT count(*), coalesce(sum(run.position - coalesce(cursor.position, 0)), 0) "
            + _BEHIND
        )
        with self._database.reading() as connection:
            runs, observations = connection.execute(sql, {"backend": backend}).fetchone()
            dead, due = connection.execute(
                "SELECT count(*), count(nullif(is_due AND position > 0, 0)) FROM dead_letter "
                "WHERE backend = ?",
                (backend,),
            ).fetchone()
            health = connection.execute(
                "SELECT failing_since, error FROM backend WHERE name = ?", (backend,)
            ).fetchone()
        return Backlog(backend, runs, observations + due, dead, *(health or (None, "")))


def _is_short(cursors: Owed, run_no: int, goal: tuple[int, int]) -> bool:
    position, revision = cursors.get(run_no, (0, 0))
    return position < goal[0] or revision < goal[1]


def _is_state_due(connection: sqlite3.Connection, backend: str, run_no: int) -> bool:
    sql = f"SELECT ({_DUE} AND run_no = :run_no AND position = 0) IS NOT NULL"
    (is_due,) = connection.execute(sql, {"backend": backend, "run_no": run_no}).fetchone()
    return bool(is_due)


def doubt_of(connection: sqlite3.Connection, run_id: str) -> int:
    """Return up to which position a backend may hold more than its cursor says."""
    row = connection.execute("SELECT position FROM doubt WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return 0
    return MOST if row[0] is None else int(row[0])


def cursor_of(connection: sqlite3.Connection, backend: str, run_no: int) -> tuple[int, int, int]:
    """Return a cursor's position, revision and replay; zeros before anything was acknowledged."""
    sql = "SELECT position, revision, replay FROM cursor WHERE backend = ? AND run_no = ?"
    row = connection.execute(sql, (backend, run_no)).fetchone()
    return (row[0], row[1], row[2]) if row else (0, 0, 0)
