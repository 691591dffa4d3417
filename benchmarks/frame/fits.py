"""How something grows with its size: the exponent of the power law that fits it best."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of ten doublings the last five: before that, what every size costs hides what each piece does.
LARGE_SHARE: Final = 0.5
FLAT: Final = 0.2
# More than noise and caches that become too small do.
LINEAR: Final = 1.15


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return b of the y = a x^b that lies nearest, by least squares of the logarithms.

    Args:
        points: Size and cost, both above 0; at least two different sizes.
    """
    sizes = [math.log(size) for size, _ in points]
    costs = [math.log(cost) for _, cost in points]
    return statistics.linear_regression(sizes, costs).slope


def large_exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the exponent of the larger half of the sizes, where it tells what is to come."""
    ordered = sorted(points)
    return exponent(ordered[math.floor((len(ordered) - 1) * LARGE_SHARE) :])


def growth(large: float) -> str:
    """Say in a word or two what an exponent means."""
    if large > LINEAR:
        return "faster than its size: a defect"
    if large < FLAT:
        return "does not grow"
    return "linear" if large > 1 - (LINEAR - 1) else "slower than its size"
