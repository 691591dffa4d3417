"""Spools that could not be archived, and are not tried again for a while."""

from __future__ import annotations

import time
from typing import Final

MOST: Final = 10_000
"""As many are remembered; of more, those that were turned down first are tried again sooner."""

AGAIN_SECONDS: Final = 600.0
"""How long to let one alone that may be free soon: somebody writes to it, say."""

LONG_SECONDS: Final = 24 * 60 * 60.0
"""And one that somebody has to mend, as it cannot be read, say: it is told of once a day."""


class TurnedDown:
    """Remembers runs by id, each for a time; to be used by one thread at a time."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, run_id: str, seconds: float = AGAIN_SECONDS) -> None:
        """Let a run alone for so long."""
        self._until.pop(run_id, None)
        self._until[run_id] = time.monotonic() + seconds
        if len(self._until) > MOST:
            del self._until[next(iter(self._until))]

    def __contains__(self, run_id: str) -> bool:
        until = self._until.get(run_id)
        if until is None or time.monotonic() < until:
            return until is not None
        del self._until[run_id]
        return False
