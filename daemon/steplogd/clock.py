"""The time of day as ages of files are told by it: not to be trusted for a while after a jump."""

from __future__ import annotations

import math
import time
from typing import Final

JUMP_SECONDS: Final = 5.0
"""A clock that gains or loses more than this between two looks was set, or the machine slept."""


class WallClock:
    """Tells the time of day, but not while nobody can say how old a file is.

    Attributes:
        patience_seconds: For how long a jump leaves that open: a file that nobody has written to
            for so long after it is at least that old, whatever its time says.

    Args:
        patience_seconds: The same.
    """

    def __init__(self, patience_seconds: float) -> None:
        self.patience_seconds = patience_seconds
        self._ahead: float | None = None
        self._jumped_at = -math.inf

    def now(self, steady_now: float) -> float:
        """Return seconds since the epoch; NaN, of which no age comes, for a while after a jump.

        Args:
            steady_now: A clock that never jumps, in seconds.
        """
        now = time.time()
        ahead = now - steady_now
        if self._ahead is not None and abs(ahead - self._ahead) > JUMP_SECONDS:
            self._jumped_at = steady_now
        self._ahead = ahead
        is_trusted = steady_now - self._jumped_at >= self.patience_seconds
        return now if is_trusted else math.nan
