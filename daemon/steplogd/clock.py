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
        is_trusted_at_first: Whether the clock is taken to be right when it is looked at first; a
            machine that has just started may not have asked anybody yet what time it is.

    Args:
        patience_seconds, is_trusted_at_first: The same.
    """

    def __init__(self, patience_seconds: float, *, is_trusted_at_first: bool = True) -> None:
        self.patience_seconds = patience_seconds
        self._is_trusted_at_first = is_trusted_at_first
        self._ahead: float | None = None
        self._jumped_at = -math.inf

    def now(self, steady_now: float) -> float:
        """Return seconds since the epoch; NaN, of which no age comes, for a while after a jump.

        Args:
            steady_now: A clock that never jumps, in seconds.
        """
        now = time.time()
        ahead = now - steady_now
        is_new = self._ahead is None and not self._is_trusted_at_first
        if is_new or (self._ahead is not None and abs(ahead - self._ahead) > JUMP_SECONDS):
            self._jumped_at = steady_now
        self._ahead = ahead
        is_trusted = steady_now - self._jumped_at >= self.patience_seconds
        return now if is_trusted else math.nan
