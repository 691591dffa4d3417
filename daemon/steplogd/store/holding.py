"""Takes a store over for whoever holds the home, and gives it back: in good order or not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from steplogd.store.breakage import StoreError, StoreUnusable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from steplogd.store.database import Database


def take(database: Database, sizes: Callable[[], Mapping[str, int]]) -> None:
    """Note that the store is in use, and what must be doubted of it.

    A store that is new while spools lie there takes the place of one that is lost: the trackers may
    hold any of it. One that was not closed and has no WAL has lost its last commits, and a part of
    them may have come into the file itself: it is used only where it cannot be folded again.

    Args:
        database: The store.
        sizes: Returns the size of each spool in bytes, by run id, and 0 for runs that have but
            archived ones; called when that matters.

    Raises:
        StoreUnusable: It must be set aside.
        StoreError: It cannot be written now.
        OSError: The spools cannot be listed.
    """
    with database.reading() as connection:
        (state,) = connection.execute("SELECT state FROM store").fetchone() or ("new",)
    is_wal_lost = state == "open" and not database.had_wal
    spools = sizes() if is_wal_lost or state == "new" else {}
    if is_wal_lost:
        _check_without_wal(database, spools)
    with database.transaction() as connection:
        connection.execute("UPDATE store SET state = 'open'")
        if is_wal_lost or state == "new":
            _doubt_all(connection, spools)
    database.put_down()  # or a lost WAL would take with it that it was there


def give_back(database: Database) -> None:
    """Note that the store is closed in good order; one that cannot be written stays open."""
    with contextlib.suppress(StoreError), database.transaction() as connection:
        connection.execute("UPDATE store SET state = 'closed'")


def _check_without_wal(database: Database, spools: Mapping[str, int]) -> None:
    lost = StoreUnusable(f"{database.path} has lost its last commits: its WAL was deleted")
    with database.reading() as connection:
        folded = dict(
            connection.execute("SELECT run_id, offset FROM run JOIN checkpoint USING (run_no)")
        )
        (removed,) = connection.execute(
            "SELECT count(*) FROM archived WHERE state = 'removed'"
        ).fetchone()
    if not removed and all(spools.get(run_id, -1) >= offset for run_id, offset in folded.items()):
        raise lost
    database.check_sound()
    sql = (
        "SELECT 1 FROM run LEFT JOIN (SELECT run_no, count(*) AS count FROM observation "
        "GROUP BY run_no) USING (run_no) WHERE position <> coalesce(count, 0)"
    )
    with database.reading() as connection:
        if connection.execute(sql).fetchone():
            raise lost


def _doubt_all(connection: sqlite3.Connection, spools: Mapping[str, int]) -> None:
    """Doubt the cursors of every run up to where its spool ends now."""
    sql = "INSERT OR REPLACE INTO doubt (run_id, size) SELECT run_id, 0 FROM run"
    connection.execute(sql)
    sql = "INSERT OR REPLACE INTO doubt (run_id, size) VALUES (?, ?)"
    connection.executemany(sql, spools.items())
    connection.execute(
        "UPDATE doubt SET position = (SELECT run.position FROM run JOIN checkpoint USING (run_no) "
        "WHERE run.run_id = doubt.run_id AND checkpoint.offset >= doubt.size)"
    )
