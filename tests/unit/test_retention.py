"""Which spools are to go, in which order: decided from facts alone."""

from __future__ import annotations

import math

import pytest

from steplogd.core.retention import Policy, Spooled, chosen, excess

DAY = 24 * 60 * 60
NOW = 1_700_000_000.0
COMPRESS = Policy("compress", after_days=30)


def spool(days: float, run_id: str = "r", written_days: float | None = None) -> Spooled:
    """Return the spool of a run that ended so many days ago, and was written to then."""
    written_days = days if written_days is None else written_days
    end_ts, modified_ts = ((NOW - age * DAY) * 1e6 for age in (days, written_days))
    return Spooled(run_id, int(end_ts), int(modified_ts), 100)


def go(policy: Policy, *spools: Spooled, now: float = NOW, excess_bytes: int = 0) -> list[str]:
    """Return the runs whose spools go."""
    return [one.run_id for one in chosen(policy, spools, now, excess_bytes)]


def test_a_spool_goes_when_it_is_as_old_as_was_asked_for() -> None:
    """Not a minute earlier."""
    old, young = spool(30, "old"), spool(30 - 1 / 1440, "young")

    assert go(COMPRESS, old, young) == ["old"]


def test_a_spool_that_was_written_to_lately_stays() -> None:
    """Whatever its lines say of when it was."""
    assert go(COMPRESS, spool(900, written_days=1), spool(1, written_days=900)) == []


def test_nothing_is_due_while_the_clock_is_not_trusted() -> None:
    """Nor where it was set back: what is of the future is young."""
    assert go(COMPRESS, spool(900), now=math.nan) == []
    assert go(COMPRESS, spool(900), now=NOW - 900 * DAY) == []


def test_nothing_goes_that_is_to_be_kept() -> None:
    """Not for a budget either, which the configuration refuses."""
    assert go(Policy(), spool(900), excess_bytes=1000) == []


def test_what_is_too_much_goes_before_its_time() -> None:
    """The first ones first, and no more than is needed; whatever the clock says."""
    young = [spool(2, "a"), spool(1, "b"), spool(0, "c")]

    assert go(COMPRESS, *young, excess_bytes=101, now=math.nan) == ["a", "b"]


def test_what_is_due_frees_what_is_too_much() -> None:
    """So that no young one goes for it."""
    assert go(COMPRESS, spool(31, "old"), spool(1, "young"), excess_bytes=100) == ["old"]


@pytest.mark.parametrize(
    ("max_bytes", "taken", "on_its_way", "expected"),
    [(None, 10**12, 0, 0), (100, 100, 0, 0), (100, 150, 0, 50), (100, 150, 60, 0)],
)
def test_excess_is_what_is_beyond_the_budget(
    max_bytes: int | None, taken: int, on_its_way: int, expected: int
) -> None:
    """But for what is about to be freed."""
    assert excess(Policy("remove", 30, max_bytes), taken, on_its_way) == expected


def test_an_age_beyond_all_times_is_reached_by_nothing() -> None:
    """Nor does it make a number that the store cannot take."""
    assert go(Policy("compress", after_days=1e300), spool(900)) == []
    until_ts = Policy("compress", after_days=1e308).ended_before(NOW)
    assert until_ts is not None
    assert -(2**63) <= until_ts < 0
