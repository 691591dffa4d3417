"""Which ended runs have no document yet, or an outdated one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3

    from steplogd.store.database import Database


class Outdated(NamedTuple):
    """A run that wants a document.

    Attributes:
        position: Of its last observation.
        revision: Of the run's own state.
        is_first: Whether this store has written none of it yet.
    """

    run_no: int
    run_id: str
    position: int
    revision: int
    is_first: bool


class Documents:
    """Keeps what `runs/<run_id>.json` was last written from; safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def outdated(self) -> list[Outdated]:
        """Return each run that wants a document."""
        sql = (
            "SELECT run.run_no, run_id, run.position, run.revision, "
            "document.run_no IS NULL FROM run "
            "LEFT JOIN document USING (run_no) WHERE status <> 'PROCESSING' AND "
            "(document.run_no IS NULL OR document.position < run.position "
            "OR document.revision < run.revision)"
        )
        with self._database.reading() as connection:
            return [Outdated(*row) for row in connection.execute(sql)]

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
