"""Ticks: those who rest equally long wake together, as to wake the processor is what costs."""

from __future__ import annotations


def until_tick(seconds: float, now: float) -> float:
    """Return how long to rest: to the next of the moments that lie so many seconds apart.

    Args:
        seconds: How far they lie apart; more than 0.
        now: The time of a clock that never jumps.
    """
    return seconds - now % seconds
