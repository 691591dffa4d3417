"""Whose turn it is to be looked at."""

from __future__ import annotations

import pytest

from steplogd.folding.rounds import CHECKS_PER_ROUND, Rounds


def test_who_was_heard_of_is_due_twice_and_no_more() -> None:
    """The lock of a process that was killed may be there still when it is looked at first."""
    rounds = Rounds()
    rounds.hear(["r"])

    due = [rounds.due([]) for _ in range(3)]

    assert due == [{"r"}, {"r"}, set()]


@pytest.mark.parametrize("count", [1, CHECKS_PER_ROUND, 10 * CHECKS_PER_ROUND + 7])
def test_everybody_has_one_turn_in_a_round(count: int) -> None:
    """However many there are, and a few at a time."""
    rounds, runs = Rounds(), [f"run-{number}" for number in range(count)]

    turns: list[str] = []
    for _ in range(CHECKS_PER_ROUND):
        turns += rounds.due(runs) if len(turns) < count else []

    assert sorted(turns) == sorted(runs)


def test_rounds_follow_one_another() -> None:
    """A run that came meanwhile has its turn in the next one."""
    rounds = Rounds()
    first = rounds.due(["a"])

    second = rounds.due(["a", "b"]) | rounds.due(["a", "b"])

    assert first == {"a"}
    assert second == {"a", "b"}
