"""By how much a home is larger than it may be, from one measurement to the next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from steplogd.core.retention import excess
from steplogd.retention.home_size import taken_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from steplogd.core.retention import Policy
    from steplogd.retention.archivist import Done
    from steplogd.store.archived import Archived

MEASURE_SECONDS: Final = 60.0
_REST: Final = 500  # times as long as it took: there may be hundreds of thousands of files

_log = structlog.get_logger()


class Budget:
    """Measures a home now and then, and reckons in between; to be used by one thread at a time.

    Args:
        home: What is measured.
        archived: The store, which knows what waits to be freed.
        is_stopping: Tells whether to stop.
    """

    def __init__(self, home: Path, archived: Archived, is_stopping: Callable[[], bool]) -> None:
        self._home = home
        self._is_stopping = is_stopping
        self._archived = archived
        self.taken_bytes = 0
        self._resting_bytes = 0
        self._measure_at = float("-inf")
        self._is_said = False

    def excess(self, policy: Policy) -> int:
        """Return by how many bytes the home will be too large when what rests has been freed.

        Raises:
            StoreError: The store cannot be read now.
        """
        if policy.max_bytes is None:
            return 0
        began = time.monotonic()
        if began >= self._measure_at:
            self.taken_bytes = taken_bytes(self._home, self._is_stopping)
            self._resting_bytes = self._archived.resting_bytes()
            now = time.monotonic()
            self._measure_at = now + max(MEASURE_SECONDS, _REST * (now - began))
        return excess(policy, self.taken_bytes, self._resting_bytes)

    def note_archived(self, size_bytes: int) -> None:
        """Note that a spool will be freed, when it has rested."""
        self._resting_bytes += size_bytes

    def note_done(self, done: Done) -> None:
        """Note what was freed."""
        self.taken_bytes -= done.before - done.after
        self._resting_bytes = max(self._resting_bytes - done.before, 0)

    def say(self, policy: Policy) -> None:
        """Say once that the home is too large though all is freed that may be, or is not any more.

        Raises:
            StoreError: The store cannot be read now.
        """
        is_beyond = self.excess(policy) > 0
        if is_beyond and not self._is_said:
            _log.warning(
                "home is larger than max_bytes, and nothing more may be freed: the rest is run "
                "logs, spools of runs that go on or that a backend does not have, or not ours",
                bytes=self.taken_bytes,
                max_bytes=policy.max_bytes,
            )
        elif self._is_said and not is_beyond:
            _log.info("home is within max_bytes again", bytes=self.taken_bytes)
        self._is_said = is_beyond
