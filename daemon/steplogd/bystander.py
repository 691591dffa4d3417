"""Sees from outside how far the daemon of a home is with what was there at the start."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from steplog.home import database_path, spool_path
from steplogd.folding.presence import look
from steplogd.folding.spools import Spools, Unfolded, unfolded
from steplogd.remaining import Remaining
from steplogd.retention.archive import Archive
from steplogd.retention.archived_backlog import add_archived
from steplogd.store.archived import Archived
from steplogd.store.cursors import Cursors
from steplogd.store.database import Database
from steplogd.store.run_logs import RunLogs

if TYPE_CHECKING:
    from collections.abc import Collection

    from steplogd.config import Config

_ANY_SIZE = 2**63


class Bystander:
    """Reads the store that another daemon writes, and waits for what is there now.

    Args:
        config: Whose home, and which backends.

    Raises:
        StoreUnusable: The store is of another version, or broken.
        OSError: The spools cannot be listed.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._database = Database(database_path(config.home), is_onlooker=True)
        self._run_logs = RunLogs(self._database)
        self._cursors = Cursors(self._database)
        self._sizes = Spools(config.home, {}).sizes()
        self._archive, self._archived = Archive(config.home), Archived(self._database)
        self._places = list(self._archive.places(is_onlooker=True))
        self._leaving: set[str] | None = None
        self._owed: dict[str, dict[int, tuple[int, int]]] = {}

    def is_done(self) -> bool:
        """Tell whether all that was there is folded, ended and delivered; what came later is not.

        Spools that cannot be read are not waited for.

        Raises:
            StoreError: The store cannot be read now.
        """
        if self._unfolded().size_bytes:
            return False
        self._leaving = self._leaving_of(self._leaving)
        if self._leaving:
            return False
        return self.is_delivered([backend.name for backend in self._config.backends])

    def is_delivered(self, backends: Collection[str]) -> bool:
        """Tell whether these backends have all that was folded when this was asked first.

        Raises:
            StoreError: The store cannot be read now.
        """
        return not any(self._still_owed(backend) for backend in backends)

    def served(self) -> set[str]:
        """Return the backends that the daemon delivers to; raises as `is_delivered`."""
        return self._cursors.served()

    def remaining(self) -> Remaining:
        """Return what is left to do; raises as `is_done`."""
        left = self._unfolded()
        return Remaining(
            spool_bytes=sum(left.size_bytes.values()),
            unreadable=left.unreadable,
            open_runs=len(self._run_logs.open_runs()),
            leaving=bool(self._leaving),
            backends=[self._cursors.backlog(backend.name) for backend in self._config.backends],
        )

    def close(self) -> None:
        """Close the store."""
        self._database.close()

    def _unfolded(self) -> Unfolded:
        left = unfolded(self._config.home, self._sizes, self._run_logs.checkpoints())
        self._places = add_archived(left, self._archive, self._archived, self._places)
        return left

    def _leaving_of(self, before: set[str] | None) -> set[str]:
        """Return the open runs, of those that were leaving before, that nobody is in."""
        open_runs = self._run_logs.open_runs()
        asked = open_runs if before is None else before.intersection(open_runs)
        return {run_id for run_id in asked if self._is_leaving(run_id)}

    def _is_leaving(self, run_id: str) -> bool:
        state = self._run_logs.load(run_id).state
        path, settings = spool_path(self._config.home, run_id), self._config.settings
        return look(path, _ANY_SIZE, state, time.time(), settings.idle_seconds) == "nobody"

    def _still_owed(self, backend: str) -> bool:
        if backend not in self._owed:
            self._owed[backend] = self._cursors.owed(backend)
        self._owed[backend] = self._cursors.still_owed(backend, self._owed[backend])
        return bool(self._owed[backend])
