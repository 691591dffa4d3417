"""When to try again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steplogd.core.retry import (
    BASE_SECONDS,
    CAP_SECONDS,
    FEW,
    delay_seconds,
    stretched_seconds,
)

draws = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10**9), draws)
def test_no_delay_is_longer_than_the_cap(attempt: int, draw: float) -> None:
    """However long a backend is away."""
    assert 0 <= delay_seconds(attempt, draw) <= CAP_SECONDS


def test_the_longest_delay_doubles_until_the_cap() -> None:
    """From half a second on."""
    longest = [delay_seconds(attempt, 1.0) for attempt in range(1, 10)]

    assert longest == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert longest[0] == BASE_SECONDS


@given(st.integers(1, 100), draws, st.floats(0, 1e6))
def test_what_the_other_side_asked_for_is_waited_for(
    attempt: int, draw: float, asked: float
) -> None:
    """Though it is longer than the cap."""
    assert delay_seconds(attempt, draw, asked) >= asked


def test_the_delay_is_spread_from_zero_on() -> None:
    """Full jitter."""
    assert delay_seconds(5, 0.0) == 0.0
    assert delay_seconds(5, 0.5) == 4.0


@given(st.integers(2 * FEW, 10**6), st.floats(0, CAP_SECONDS))
def test_many_ask_no_more_often_than_a_few(waiting: int, alone: float) -> None:
    """All together, where none arrives; from the first failure on."""
    on_average = stretched_seconds(min(alone, CAP_SECONDS / 2), 0.5, waiting, 10**9)

    assert waiting / on_average <= FEW / (CAP_SECONDS / 2) * 1.0001


@given(st.floats(0, 1e6), draws, st.integers(0, FEW), st.integers(0, FEW))
def test_a_few_wait_as_long_as_each_alone(
    delay: float, draw: float, few: int, failures: int
) -> None:
    """As do many where others arrive all the time."""
    assert stretched_seconds(delay, draw, few, 10**9) == delay
    assert stretched_seconds(delay, draw, 10**6, failures) == delay


@given(st.floats(0, 1e6), draws, st.integers(0, 10**6))
def test_nobody_of_many_waits_shorter_than_alone(delay: float, draw: float, waiting: int) -> None:
    """Who was asked for time gives it."""
    assert stretched_seconds(delay, draw, waiting, 10**9) >= delay
