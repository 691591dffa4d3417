"""Run ids and writer ids."""

from __future__ import annotations

import re
from typing import Any

import pytest

from steplog import InvalidName
from steplog.names import check_run_id, new_writer_id, propose_run_id


@pytest.mark.parametrize("run_id", ["a", "A.b_c-9", "-", "_", "x" * 128, "blazing-colden-0544"])
def test_run_id_is_allowed(run_id: str) -> None:
    """One to 128 of the allowed characters are a run id."""
    assert check_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id",
    ["", ".", "..", ".hidden", "x" * 129, "a/b", "a b", "a\n", "é", "٣", "a\x00", None, 5, b"a"],
)
def test_run_id_is_refused(run_id: Any) -> None:
    """What could leave the folder, hide, or surprise a file system is no run id."""
    with pytest.raises(InvalidName, match="cannot be a run id"):
        check_run_id(run_id)


def test_proposed_run_id_reads_like_a_name() -> None:
    """A made-up run id is adjective, scientist and time, and is allowed."""
    run_id = propose_run_id()

    assert re.fullmatch(r"[a-z]+-[a-z]+-([01]\d|2[0-3])[0-5]\d", run_id)
    assert check_run_id(run_id) == run_id


def test_proposals_leave_the_dice_of_a_training_alone() -> None:
    """Making up names draws nothing from `random`, which a training may have seeded."""
    import random

    random.seed(1)
    expected = random.Random(1).random()
    propose_run_id()
    new_writer_id()

    assert random.random() == expected


def test_writers_have_different_ids() -> None:
    """Ids of writers do not meet."""
    assert len({new_writer_id() for _ in range(10_000)}) == 10_000
