"""Medians, percentiles and spread."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from benchmarks.frame.answer import Measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def measure(rounds: Iterable[float], scale: float = 1) -> Measure:
    """Return the median of some rounds and their range, each times the scale.

    Four digits are kept: more would pretend, and make a diff of what is the same.
    """
    values = [four_digits(value * scale) for value in rounds]
    if len(values) == 1:
        return Measure(values[0])
    median = four_digits(statistics.median(values))
    return Measure(median, min(values), max(values), len(values))


def ratios(ours: Sequence[float], base: Sequence[float]) -> Measure:
    """Return how many times the base ours is, round by round: noise that both had goes away."""
    return measure(one / other for one, other in zip(ours, base, strict=True))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed."""
    rank = math.ceil(round(share * len(ordered), 9))
    return ordered[max(rank, 1) - 1]


def four_digits(value: float) -> float:
    """Round to four significant digits; whole numbers below a million are kept."""
    if value == 0 or not math.isfinite(value) or (value == int(value) and abs(value) < 1e6):
        return value
    return round(value, 3 - math.floor(math.log10(abs(value))))
