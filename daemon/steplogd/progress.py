"""Progress: whether the line and the store get on, as a watchdog asks.

What is only waited for is no standstill: a full disk or a slow one, a store that another program
has locked, or that is read as a whole. Trackers do not count at all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

from steplogd.store.disk_wait import waits_for_disk

if TYPE_CHECKING:
    from steplogd.folding.follow import Follower
    from steplogd.store.database import Database


class Progress:
    """Asks again and again for a turn in the line, and in the store within that.

    Args:
        follower: Who gives turns in the line.
        database: The store.
    """

    def __init__(self, follower: Follower, database: Database) -> None:
        self._follower = follower
        self._database = database
        self._turns = 0

    async def watch(self, seconds: float) -> None:
        """Ask for a turn so often; until cancelled, also while a turn is waited for."""
        while True:
            await self._follower.have_turn(self._database.have_turn)
            self._turns += 1
            await anyio.sleep(seconds)

    def pulse(self) -> object:
        """Return what changes for as long as the pipeline gets on, and `watch` is at work."""
        thread = self._follower.thread
        waits = time.monotonic() if waits_for_disk(thread) else None
        return self._turns, waits, self._database.pulse(thread)
