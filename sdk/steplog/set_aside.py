"""What of a run's spool is no event, and which numbered lines of it are missing, from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from steplog.store_reader import find_run, rows, snapshot, text

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


class Piece(msgspec.Struct, frozen=True):
    """A piece of the spool that is no event.

    Attributes:
        offset: Where it begins in the spool.
        size: In bytes; 0 when the spool itself was truncated or replaced there.
        reason: What is wrong with it.
        excerpt: Its first bytes.
    """

    offset: int
    size: int
    reason: str
    excerpt: bytes


class Gap(msgspec.Struct, frozen=True):
    """Lines that a writer numbered, from the first to the last, and that are not in the spool."""

    w: str
    first: int
    last: int


class SetAside(msgspec.Struct, frozen=True):
    """What is wrong with a spool.

    Attributes:
        malformed: How many pieces there are.
        pieces: Those that are kept, by their place.
        missing: How many lines are missing.
        gaps: Those that are named.
    """

    run_id: str
    malformed: int
    pieces: list[Piece]
    missing: int
    gaps: list[Gap]


def read_set_aside(home: Path, run_id: str) -> SetAside:
    """Return what of a run's spool was set aside.

    Raises:
        InvalidName: The run id is none.
        RunNotFound: The run log has no such run.
        StoreUnreadable: There is no run log, or it cannot be read.
    """
    with snapshot(home) as connection:
        run = find_run(connection, run_id)
        sql = "SELECT offset, size, reason, excerpt FROM set_aside WHERE run_no = ? ORDER BY offset"
        pieces = [
            Piece(offset, size, text(reason), bytes(excerpt))
            for offset, size, reason, excerpt in rows(connection, sql, run.run_no)
        ]
        gaps = read_gaps(connection, run.run_no)
    return SetAside(run.run_id, run.malformed, pieces, run.gaps, gaps)


def read_gaps(connection: sqlite3.Connection, run_no: int) -> list[Gap]:
    """Return the gaps of a run that are named."""
    sql = "SELECT w, first, last FROM gap WHERE run_no = ? ORDER BY w, first"
    return [Gap(text(w), first, last) for w, first, last in rows(connection, sql, run_no)]
