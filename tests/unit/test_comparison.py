"""What a tracker should hold against what it holds: what is missing, changed, or too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from steplogd.core.comparison import Comparison, Mismatch
from steplogd.delivery.contract import Point

if TYPE_CHECKING:
    from collections.abc import Iterable


def loss(step: int = 0, value: str = "0.5", ts: int = 7) -> Point:
    return Point("metric", "loss", step, ts, value)


def param(value: str, name: str = "lr") -> Point:
    return Point("parameter", name, value=value)


def compare(expected: Iterable[Point], held: Iterable[Point]) -> list[Mismatch[Point]]:
    """Compare, each expected point being at the position of its place in the list."""
    comparison: Comparison[Point] = Comparison()
    for position, point in enumerate(expected, 1):
        comparison.expect([point], position)
    for point in held:
        comparison.hold(point)
    return list(comparison.mismatches())


def test_equal_points_in_any_order_differ_in_nothing() -> None:
    """And are counted."""
    comparison: Comparison[Point] = Comparison()
    comparison.expect([loss(0), loss(1), param("0.1")])

    for point in (param("0.1"), loss(1), loss(0)):
        comparison.hold(point)

    assert (list(comparison.mismatches()), comparison.met) == ([], 3)


def test_a_missing_point_is_named_with_its_position() -> None:
    """The others are not."""
    assert [Mismatch(loss(1), None, 2)] == compare([loss(0), loss(1)], [loss(0)])


def test_another_value_at_the_same_place_is_what_was_found() -> None:
    """One mismatch, not two."""
    assert [Mismatch(loss(1), loss(1, "0.75"), 1)] == compare([loss(1)], [loss(1, "0.75")])


def test_a_point_that_is_too_many_is_found_where_nothing_was_expected() -> None:
    """Its name being one of the run log's."""
    assert [Mismatch(None, loss(9))] == compare([loss(0)], [loss(0), loss(9)])


def test_names_that_the_run_log_does_not_have_are_somebody_elses() -> None:
    """A task may log with the tracker's own client beside."""
    foreign = [Point("metric", "system/cpu", 0, 0, "1.0"), param("1", "max_depth")]

    assert compare([loss(), param("0.1")], [loss(), param("0.1"), *foreign]) == []


def test_the_same_key_and_step_at_another_time_is_another_point() -> None:
    """And the one that is missing is paired with the nearest that is too many."""
    expected = [loss(ts=1), loss(ts=2), loss(ts=30)]

    assert [Mismatch(loss(ts=30), loss(ts=29), 3)] == compare(
        expected, [loss(ts=2), loss(ts=1), loss(ts=29)]
    )


def test_equal_points_are_one_on_either_side() -> None:
    """A tracker merges them, and may show one twice while it is being written."""
    assert compare([loss(), loss()], [loss()]) == []
    assert compare([loss()], [loss(), loss()]) == []


def test_a_parameter_that_another_value_stands_for_shows_that_value() -> None:
    """Also where both were tracked, and the first one is there rightly."""
    assert [Mismatch(param("2"), param("1"), 2)] == compare([param("1"), param("2")], [param("1")])


def test_what_may_be_there_already_is_excused() -> None:
    """It was sent, and the answer is not noted yet."""
    comparison: Comparison[Point] = Comparison()
    comparison.expect([loss(0)], 1)
    comparison.hold(loss(0))
    comparison.hold(loss(1))

    comparison.excuse([loss(1), loss(2)])

    assert list(comparison.mismatches()) == []


POINTS = st.lists(st.builds(loss, st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 2)))


@given(POINTS, POINTS)
def test_what_differs_is_the_difference_of_two_sets(
    expected: list[Point], held: list[Point]
) -> None:
    """No point is lost in pairing, and none is said twice."""
    names = [loss(-1)]  # the name is the run log's in any case

    found = compare(names + expected, names + held)

    missing = [mismatch.expected for mismatch in found if mismatch.expected]
    surplus = [mismatch.found for mismatch in found if mismatch.found]
    assert len(missing) == len(set(missing))
    assert len(surplus) == len(set(surplus))
    assert set(expected) - set(held) == set(missing)
    assert set(held) - set(expected) == set(surplus)


def test_times_count_for_nothing_before_a_position_that_was_folded_again() -> None:
    """A value that differs counts there too, and beyond it all does."""
    comparison: Comparison[Point] = Comparison()
    for position, point in enumerate([loss(0), loss(1), loss(2)], 1):
        comparison.expect([point], position)
    for point in (loss(0, ts=3), loss(0, ts=4), loss(1, "0.25", ts=3), loss(2, ts=3)):
        comparison.hold(point)

    comparison.forgive_times(2)

    assert list(comparison.mismatches()) == [
        Mismatch(loss(1), loss(1, "0.25", ts=3), 2),
        Mismatch(loss(2), loss(2, ts=3), 3),
    ]
