"""When to try again: exponential backoff with full jitter, for ever."""

from __future__ import annotations

from typing import Final

BASE_SECONDS: Final = 0.5
CAP_SECONDS: Final = 60.0
_MAX_DOUBLINGS: Final = 20  # beyond the cap by far; keeps the power small


def delay_seconds(attempt: int, draw: float, retry_after_seconds: float | None = None) -> float:
    """Return how long to wait before the next attempt.

    Full jitter spreads those who failed together, and draws from zero on, so that the first to come
    back finds out soon ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Args:
        attempt: How many attempts have failed in a row, from 1.
        draw: A random number in [0, 1).
        retry_after_seconds: The least that the other side asked for.
    """
    ceiling = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
    return max(draw * ceiling, retry_after_seconds or 0.0)
