"""The question of what a call costs: how rounds become ratios."""

from __future__ import annotations

from benchmarks.emit import BARE, MSGSPEC, Found, _least
from benchmarks.peers.contenders import STEPLOG


def test_a_ratio_is_the_median_of_what_was_measured_side_by_side() -> None:
    """A round in which the machine was slow for all changes nothing."""
    found = Found()
    for ours, theirs in ((2.0, 1.0), (30.0, 10.0), (8.0, 2.0)):
        found.add(STEPLOG, 1, {"median_us": ours})
        found.add(BARE, 1, {"median_us": theirs})

    assert found.ratio(1, "median_us", BARE) == 3


def test_a_percentile_that_no_round_had_calls_for_is_none() -> None:
    """It is left out, not made up."""
    found = Found()
    found.add(STEPLOG, 1, {"median_us": 2.0})
    found.add(BARE, 1, {"median_us": 1.0})

    assert found.ratio(1, "p999_us", BARE) is None


def test_the_least_is_what_an_encoding_and_a_write_take() -> None:
    """So that a goal that is missed says how near it can be come to."""
    found = Found()
    for values, taken in ((1, 1.6), (10, 2.4)):
        found.add(BARE, values, {"median_us": 2.0})
        found.add(MSGSPEC, values, {"median_us": 2 * taken})

    assert _least(found, 10) == "a bare msgspec encode and write takes 2.4 times"
