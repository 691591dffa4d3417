"""The fit of how something grows."""

from __future__ import annotations

import math

import pytest
from benchmarks.frame.fits import exponent, growth, large_exponent

SIZES = [100 * 2**doubling for doubling in range(11)]


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_the_exponent_of_a_power_law_is_found(power: float) -> None:
    """Whatever it is multiplied by."""
    points = [(size, 7e-6 * size**power) for size in SIZES]

    assert math.isclose(exponent(points), power, abs_tol=1e-9)
    assert math.isclose(large_exponent(points), power, abs_tol=1e-9)


def test_noise_on_both_sides_leaves_the_exponent() -> None:
    """A tenth more and a tenth less, in turn."""
    points = [(size, size * (1.1 if number % 2 else 0.9)) for number, size in enumerate(SIZES)]

    assert math.isclose(exponent(points), 1, abs_tol=0.05)


def test_what_every_size_costs_hides_growth_only_where_all_sizes_count() -> None:
    """A start takes its time, however little follows."""
    points = [(size, 10_000 + size * size / 1000) for size in SIZES]

    assert exponent(points) < 1.1
    assert large_exponent(reversed_order(points)) > 1.3


def test_growth_is_said_in_words() -> None:
    """A defect is called one."""
    said = [growth(large) for large in (0.01, 0.6, 1.05, 1.4)]

    assert said == [
        "does not grow",
        "slower than its size",
        "linear",
        "faster than its size: a defect",
    ]


def reversed_order(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points from the largest to the smallest, which must not matter."""
    return points[::-1]
