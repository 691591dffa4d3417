"""When to try again: exponential backoff with full jitter, for ever."""

from __future__ import annotations

from typing import Final

BASE_SECONDS: Final = 0.5
CAP_SECONDS: Final = 60.0
FEW: Final = 32
"""So many runs that wait are each tried as often as one alone: about once a second by all."""

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


def stretched_seconds(
    delay_seconds: float, draw: float, waiting: int, failures_in_a_row: int
) -> float:
    """Return how long a run waits that is one of many, while none of them arrives.

    So a tracker that is away is asked about once a second, however many runs it is behind with: it
    is as soon noticed that it is back, and thousands of them would take a processor for nothing.

    Args:
        delay_seconds: How long the run would wait alone.
        draw: A random number in [0, 1).
        waiting: How many others wait.
        failures_in_a_row: Attempts of any run since the last one that arrived; where others arrive
            in between, each is its own case.
    """
    crowd = min(waiting, failures_in_a_row) / FEW
    return delay_seconds if crowd <= 1 else max(delay_seconds, draw * CAP_SECONDS * crowd)
