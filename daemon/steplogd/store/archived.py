"""Archived spools in the store: how far each is folded, and which are to be archived next.

Observations, cursors and the rest of a run log are never touched here: whatever becomes of a
spool, the run log has it all, and a backend that is added later gets it from there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

    from steplogd.store.database import Database

State = Literal["unread", "resting", "compressed", "removed"]
"""`unread`: some of it is not folded (again). `resting`: it lies there as it was, for a while."""

# A dead letter is answered for, but one that somebody asked for once more is not yet. What a
# tracker may hold beyond its cursor, by doubt, is nothing that it lacks.
_IS_OWED: Final = (
    "EXISTS (SELECT 1 FROM backend LEFT JOIN cursor ON cursor.backend = backend.name "
    "AND cursor.run_no = run.run_no WHERE place IS NOT NULL AND ("
    "coalesce(cursor.position, 0) < run.position OR coalesce(cursor.revision, 0) < run.revision "
    "OR EXISTS (SELECT 1 FROM dead_letter WHERE dead_letter.backend = backend.name "
    "AND dead_letter.run_no = run.run_no AND is_due)))"
)
_HAS_DOCUMENT: Final = (
    "EXISTS (SELECT 1 FROM document WHERE document.run_no = run.run_no "
    "AND document.position >= run.position AND document.revision >= run.revision)"
)
_FINISHED: Final = (
    "SELECT run_no, run_id, end_ts, offset, mark, "  # noqa: S608
    f"NOT {_IS_OWED} AND {_HAS_DOCUMENT} "
    "FROM run JOIN checkpoint USING (run_no) "
    "WHERE spooled AND end_ts IS NOT NULL"
)
_MAY_GO: Final = (
    "EXISTS (SELECT 1 FROM run WHERE run.run_no = archived.run_no "  # noqa: S608
    "AND unknown = 0 AND malformed = 0 AND status <> 'PROCESSING' "
    f"AND end_ts IS NOT NULL AND NOT {_IS_OWED} AND {_HAS_DOCUMENT})"
)
_COLUMNS: Final = "number, offset, mark, size, state"

Place = tuple[int, int]
"""Where a page ended: a time and a run's number, or a run's number and a spool's."""

START: Final[Place] = (-(2**63), 0)


class ArchivedSpool(msgspec.Struct, frozen=True):
    """A spool that was taken out of `spool/`.

    Attributes:
        number: Of the spools of its run, from 1.
        offset: How many bytes of it are folded.
        mark: What it is known by at that place; empty where that is not known.
        size: Of the file in bytes, when it was looked at last.
        state: What became of it.
    """

    number: int
    offset: int
    mark: bytes
    size: int
    state: State

    def still_unread(self) -> ArchivedSpool:
        """Return the same with more to be folded."""
        return msgspec.structs.replace(self, state="unread")


class FinishedRun(msgspec.Struct, frozen=True):
    """A run that ended and whose spool lies in `spool/`.

    Attributes:
        end_ts: When it ended, in microseconds since the epoch.
        offset: How many bytes of the spool are folded.
        mark: What that is known by at that place.
        is_everywhere: Whether every backend of the configuration has acknowledged all of it, and
            its document is written.
    """

    run_no: int
    run_id: str
    end_ts: int
    offset: int
    mark: bytes
    is_everywhere: bool


class Archived:
    """Reads and writes what is archived; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def finished(self, after: Place, until_ts: int, count: int) -> list[FinishedRun]:
        """Return runs that ended until then, the ones that ended first, of those after a place."""
        sql = f"{_FINISHED} AND (end_ts, run_no) > (?, ?) AND end_ts <= ? ORDER BY end_ts, run_no"
        with self._database.reading() as connection:
            rows = connection.execute(f"{sql} LIMIT ?", (*after, until_ts, count)).fetchall()
        return [_finished(row) for row in rows]

    def is_finished(self, run: FinishedRun) -> bool:
        """Tell whether all of this is still so."""
        with self._database.reading() as connection:
            row = connection.execute(f"{_FINISHED} AND run_no = ?", (run.run_no,)).fetchone()
        return row is not None and _finished(row) == run

    def last_number(self, run_no: int) -> int:
        """Return the number of a run's last archived spool; 0 when it has none."""
        sql = "SELECT coalesce(max(number), 0) FROM archived WHERE run_no = ?"
        with self._database.reading() as connection:
            (number,) = connection.execute(sql, (run_no,)).fetchone()
        return int(number)

    def in_state(
        self, state: State, after: Place, count: int, until_ts: int | None = None
    ) -> list[tuple[int, str, ArchivedSpool]]:
        """Return archived spools with number and id of their runs, those after a place.

        In the order of these numbers: to go by when runs ended, all would have to be read for each
        page, or each run that ends would pay for an index of it.

        Args:
            state: Theirs.
            after: The run's number and the spool's that the last page ended with.
            count: The most of them.
            until_ts: Only those of runs that had ended by then.
        """
        sql = (
            f"SELECT run_no, run_id, {_COLUMNS} FROM archived JOIN run USING (run_no) "  # noqa: S608
            "WHERE state = ? AND (archived.run_no, number) > (?, ?) "
            "AND (? IS NULL OR end_ts <= ?) ORDER BY archived.run_no, number LIMIT ?"
        )
        with self._database.reading() as connection:
            rows = connection.execute(sql, (state, *after, until_ts, until_ts, count)).fetchall()
        return [(row[0], row[1], ArchivedSpool(*row[2:])) for row in rows]

    def resting_bytes(self) -> int:
        """Return how much all spools have that rest."""
        sql = "SELECT coalesce(sum(size), 0) FROM archived WHERE state = 'resting'"
        with self._database.reading() as connection:
            (size,) = connection.execute(sql).fetchone()
        return int(size)

    def known(self, run_ids: Collection[str]) -> dict[tuple[str, int], ArchivedSpool]:
        """Return the archived spools of these runs that the store knows, by run id and number."""
        sql = (
            f"SELECT run_id, {_COLUMNS} FROM archived JOIN run USING (run_no) "  # noqa: S608
            "WHERE run_id IN (SELECT value FROM json_each(?))"
        )
        with self._database.reading() as connection:
            rows = connection.execute(sql, (json.dumps(list(run_ids)),)).fetchall()
        return {(row[0], row[1]): ArchivedSpool(*row[1:]) for row in rows}

    def checkpoint(self, run_id: str) -> tuple[int, int, bytes]:
        """Return a run's number, how much of its spool is folded, and the mark; zeros for none."""
        sql = "SELECT run_no, offset, mark FROM run JOIN checkpoint USING (run_no) WHERE run_id = ?"
        with self._database.reading() as connection:
            row = connection.execute(sql, (run_id,)).fetchone()
        return (row[0], row[1], row[2]) if row else (0, 0, b"")

    def archive(self, run_no: int, spool: ArchivedSpool) -> None:
        """Note that a run's spool is archived; one that is made from now on begins at its start."""
        with self._database.transaction() as connection:
            write_archived(connection, run_no, spool)
            _set_checkpoint(connection, run_no, 0, b"")

    def restore(self, run_no: int, spool: ArchivedSpool) -> None:
        """Note that an archived spool is in its old place again."""
        with self._database.transaction() as connection:
            sql = "DELETE FROM archived WHERE run_no = ? AND number = ?"
            connection.execute(sql, (run_no, spool.number))
            _set_checkpoint(connection, run_no, spool.offset, spool.mark)

    def settle(self, run_no: int, spool: ArchivedSpool) -> None:
        """Note what became of an archived spool; how much of it is folded stays as it is."""
        sql = "UPDATE archived SET state = ?, size = ? WHERE run_no = ? AND number = ?"
        with self._database.transaction() as connection:
            connection.execute(sql, (spool.state, spool.size, run_no, spool.number))

    def holds_more(self, run_no: int) -> bool:
        """Tell whether a run's spools hold what its run log has not: lines that are only counted.

        Those are of kinds that a later version may know, or are no events at all.
        """
        sql = "SELECT unknown > 0 OR malformed > 0 FROM run WHERE run_no = ?"
        with self._database.reading() as connection:
            row = connection.execute(sql, (run_no,)).fetchone()
        return bool(row and row[0])

    def note_removed(self, run_no: int, spool: ArchivedSpool) -> bool:
        """Note that an archived spool is removed, and return True, if it may be at this moment.

        The run must have ended, with its document, and every backend must have all of it: since it
        was archived, lines may have come late, or it is folded again into a new store. Nor may it
        be removed where `holds_more` is so.
        """
        sql = (
            "UPDATE archived SET state = 'removed', size = 0 "  # noqa: S608
            f"WHERE run_no = ? AND number = ? AND {_MAY_GO}"
        )
        with self._database.transaction() as connection:
            return connection.execute(sql, (run_no, spool.number)).rowcount > 0

    def make_durable(self) -> bool:
        """See that all that is folded survives whatever becomes of the WAL; as the database's."""
        return self._database.make_durable()

    def note_absent(self, run_no: int) -> None:
        """Note that a run has no spool any more, which somebody else has taken away."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE run SET spooled = 0 WHERE run_no = ?", (run_no,))


def write_archived(connection: sqlite3.Connection, run_no: int, spool: ArchivedSpool) -> None:
    """Write how far an archived spool is folded, within the caller's transaction."""
    row = (run_no, *msgspec.structs.astuple(spool))
    connection.execute("INSERT OR REPLACE INTO archived VALUES (?, ?, ?, ?, ?, ?)", row)


def _finished(row: tuple[Any, ...]) -> FinishedRun:
    run_no, run_id, end_ts, offset, mark, is_everywhere = row
    return FinishedRun(run_no, run_id, end_ts, offset, mark, bool(is_everywhere))


def _set_checkpoint(connection: sqlite3.Connection, run_no: int, offset: int, mark: bytes) -> None:
    sql = "UPDATE checkpoint SET offset = ?, mark = ? WHERE run_no = ?"
    connection.execute(sql, (offset, mark, run_no))
    connection.execute("UPDATE run SET spooled = ? WHERE run_no = ?", (offset > 0, run_no))
