"""Which ended runs have no document yet, or an outdated one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from steplogd.store.database import Database


class Documents:
    """Keeps what `runs/<run_id>.json` was last written from; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def outdated(self) -> list[tuple[int, str, int, int]]:
        """Return run number, run id, position and revision of each run that wants a document."""
        sql = (
            "SELECT run.run_no, run_id, run.position, run.revision FROM run "
            "LEFT JOIN document USING (run_no) WHERE status <> 'PROCESSING' AND "
            "(document.run_no IS NULL OR document.position < run.position "
            "OR document.revision < run.revision)"
        )
        with self._database.reading() as connection:
            return connection.execute(sql).fetchall()

    def blame(self, error: sqlite3.Error) -> None:
        """Say what this error, which somebody met who read the store, means for it.

        Raises:
            StoreUnusable: The store is broken.
        """
        self._database.blame(error)

    def written(self, run_no: int, position: int, revision: int) -> None:
        """Note that a run's document shows it as of this position and revision."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO document VALUES (?, ?, ?)", (run_no, position, revision)
            )
