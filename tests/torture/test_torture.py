"""A bounded part of the torture house, for every run of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.torture.torture import all_tortures, carry_out

if TYPE_CHECKING:
    from pathlib import Path

BUDGET_SECONDS = 2.0
SEED = "tests"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", all_tortures())
def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path, name: str) -> None:
    """Whatever is done to it for some seconds: all that returned is there, exactly once."""
    outcome = carry_out(all_tortures()[name], tmp_path / "house", SEED, BUDGET_SECONDS)

    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.failure == ""
