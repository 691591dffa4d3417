"""The judge itself: a loss, a double, a wrong value and a fault that never came are all found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.torture.judging import Verdict, compare
from tests.torture.oracle import Oracle, value_of
from tests.torture.torture import Torture, carry_out

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.house import House

RETURNED = 20


class Witness:
    """A writer that made some calls, the last of which was under way when it was killed."""

    run_id, key, kind = "r", "w1", "mixed"

    def __init__(self, folder: Path) -> None:
        self.oracle = Oracle(folder / "w1.oracle")
        self.oracle.issued, self.oracle.returned = RETURNED + 1, RETURNED


def seen(*numbers: int) -> list[tuple[str, int, Any]]:
    """Return what should be found of the calls of these numbers."""
    return [("w1", number, value_of("mixed", number)) for number in numbers]


def judge(folder: Path, found: list[tuple[str, int, Any]]) -> Verdict:
    """Compare what was found with the oracle of one writer."""
    return compare("here", [Witness(folder)], found)


@pytest.mark.parametrize("count", [RETURNED, RETURNED + 1])
def test_all_that_returned_is_enough(tmp_path: Path, count: int) -> None:
    """The call that was under way may be there, or not."""
    assert judge(tmp_path, seen(*range(count))) == Verdict(calls=RETURNED)


def test_a_call_that_is_missing_is_lost(tmp_path: Path) -> None:
    """It is counted, and named."""
    verdict = judge(tmp_path, seen(*range(7), *range(8, RETURNED)))

    assert (verdict.lost, verdict.twice) == (1, 0)
    assert "7 is missing" in verdict.wrong[0]


def test_what_is_there_more_than_once_is_counted(tmp_path: Path) -> None:
    """Each time beyond the first counts."""
    verdict = judge(tmp_path, seen(*range(RETURNED), 3, 3, 5))

    assert (verdict.lost, verdict.twice) == (0, 3)
    assert "3, 5 is there more than once" in verdict.wrong[0]


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (("w1", RETURNED + 1, 0.5), "was never issued"),
        (("w1", -1, 0.5), "was never issued"),
        (("w9", 0, 0.5), "nobody tracked w9"),
        (("w1", 1, 1.0), "has another value"),  # an integer was tracked
    ],
)
def test_what_nobody_tracked_so_is_wrong(tmp_path: Path, found: Any, what: str) -> None:
    """Values are equal only with the same type."""
    rest = [one for one in seen(*range(RETURNED)) if one[:2] != found[:2]]

    (sentence,) = judge(tmp_path, [*rest, found]).wrong

    assert what in sentence


def test_a_fault_that_never_happened_fails(tmp_path: Path) -> None:
    """So does a torture in which nothing was judged."""

    def nothing(house: House) -> None:
        house.happened("a kill")

    idle = Torture("idle", ("a kill", "a full disk"), 1.0, nothing)
    outcome = carry_out(idle, tmp_path / "house", "seed", 0.0)

    assert outcome.tried == {"a kill": 1, "a full disk": 0}
    assert outcome.failure == "it never happened: a full disk\nnothing was judged"
