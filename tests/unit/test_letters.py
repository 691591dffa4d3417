"""Dead letters and replays in the store: what is sent once more, and what cannot undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steplogd.store.cursors import Cursors
from steplogd.store.letters import Letters
from steplogd.store.run_logs import FoldedRun, RunLogs
from steplogd.store.standings import Standings
from tests.lines import Scribe, fold, line

if TYPE_CHECKING:
    from steplogd.core.fold import Fold
    from steplogd.store.database import Database


@pytest.fixture
def cursors(database: Database) -> Cursors:
    """Give the cursors of a new store."""
    return Cursors(database)


@pytest.fixture
def letters(database: Database) -> Letters:
    """Give its dead letters."""
    return Letters(database)


@pytest.fixture
def standings(database: Database) -> Standings:
    """Give what stands where."""
    return Standings(database)


def commit(database: Database, folding: Fold) -> int:
    """Commit a new run; return its number."""
    run = FoldedRun(0, folding.state, 0)
    RunLogs(database).commit([(run, folding.take_changes())])
    return run.run_no


def three(database: Database) -> int:
    """Commit a run of three observations."""
    return commit(database, fold(*[Scribe(w).track(loss=0.5) for w in "abc"]))


def positions(cursors: Cursors, run_no: int) -> tuple[list[int], list[int]]:
    """Return which observations are to be sent next, and which once more."""
    pending = cursors.pending("x", run_no, 100, 10**6)
    return [row[0] for row in pending.rows], [row[0] for row in pending.due]


def test_a_replay_owes_everything_again(
    database: Database, cursors: Cursors, standings: Standings
) -> None:
    """Observations and the run's own state, and no dead letter is left of it."""
    run_no = three(database)
    cursors.acknowledge("x", run_no, 3, {2: "no"})
    cursors.settle("x", run_no, 1, "no")

    count = standings.set_back("x")

    backlog = cursors.backlog("x")
    assert (count, positions(cursors, run_no)) == (1, ([1, 2, 3], []))
    assert (backlog.runs, backlog.observations, backlog.dead_letters) == (1, 3, 0)
    assert not cursors.pending("x", run_no, 1, 1).is_settled


def test_a_replay_of_one_run_concerns_no_other(
    database: Database, cursors: Cursors, standings: Standings
) -> None:
    """Nor another backend."""
    first, second = three(database), commit(database, other())
    for backend in "xy":
        for run_no in (first, second):
            cursors.acknowledge(backend, run_no, 3 if run_no == first else 1)
            cursors.settle(backend, run_no, 1)

    standings.set_back("x", "other")

    assert (cursors.behind("x"), cursors.behind("y")) == ([second], [])


def other() -> Fold:
    """Fold another run, of one observation."""
    folding = fold(Scribe().track())
    folding.state.run_id = "other"
    return folding


@pytest.mark.parametrize("had_cursor", [True, False])
def test_what_was_read_before_a_replay_acknowledges_nothing(
    database: Database, cursors: Cursors, standings: Standings, *, had_cursor: bool
) -> None:
    """A batch in flight must not undo it, be it the first one ever."""
    run_no = three(database)
    if had_cursor:
        cursors.acknowledge("x", run_no, 1)
    replay = cursors.pending("x", run_no, 1, 1).replay
    standings.set_back("x")

    cursors.acknowledge("x", run_no, 2, {2: "no"}, replay=replay)
    cursors.settle("x", run_no, 1, "no", replay=replay)

    standing = standings.of("x", run_no)
    assert (standing.position, standing.revision, standing.letters) == (0, 0, {})


def test_what_is_read_after_a_replay_acknowledges_as_ever(
    database: Database, cursors: Cursors, standings: Standings
) -> None:
    """However many replays there were."""
    run_no = three(database)
    for _ in range(3):
        standings.set_back("x")

    replay = cursors.pending("x", run_no, 1, 1).replay
    cursors.acknowledge("x", run_no, 2, replay=replay)
    cursors.settle("x", run_no, 1, replay=replay)

    standing = standings.of("x", run_no)
    assert (standing.position, standing.revision, standing.replay) == (2, 1, 3)


def test_a_drain_waits_for_what_is_due(
    database: Database, cursors: Cursors, letters: Letters
) -> None:
    """It is owed like anything else, and counted."""
    run_no = three(database)
    cursors.acknowledge("x", run_no, 3, {2: "no"})
    cursors.settle("x", run_no, 1)
    before = cursors.behind("x")

    letters.mark_due(["x"])

    owed = cursors.owed("x")
    assert (before, list(owed), list(cursors.still_owed("x", owed))) == ([], [run_no], [run_no])
    assert cursors.backlog("x").observations == 1
    assert positions(cursors, run_no) == ([], [2])


def test_a_letter_that_was_taken_is_none_any_more(
    database: Database, cursors: Cursors, letters: Letters
) -> None:
    """Nothing is owed then."""
    run_no = three(database)
    cursors.acknowledge("x", run_no, 3, {1: "no", 2: "no"})
    cursors.settle("x", run_no, 1)
    letters.mark_due(["x"])

    cursors.retried("x", run_no, [1, 2])

    assert (letters.of(["x"]), cursors.behind("x")) == ([], [])


def test_a_letter_that_was_refused_again_has_the_new_reason(
    database: Database, cursors: Cursors, letters: Letters
) -> None:
    """And is not sent again by itself."""
    run_no = three(database)
    cursors.acknowledge("x", run_no, 3, {2: "no"})
    letters.mark_due(["x"])

    cursors.retried("x", run_no, [2], "never")

    (letter,) = letters.of(["x"])
    assert (letter.position, letter.reason, letter.is_due) == (2, "never", False)


def test_a_letter_that_was_discarded_while_it_was_sent_stays_away(
    database: Database, cursors: Cursors, letters: Letters
) -> None:
    """Also when it is refused again."""
    run_no = three(database)
    cursors.acknowledge("x", run_no, 3, {2: "no"})
    letters.mark_due(["x"])
    letters.discard(["x"])

    cursors.retried("x", run_no, [2], "never")

    assert letters.of(["x"]) == []


def test_a_refused_state_that_is_due_is_to_be_settled_again(
    database: Database, cursors: Cursors, letters: Letters
) -> None:
    """Until it is taken, or refused once more."""
    run_no = three(database)
    cursors.acknowledge("x", run_no, 3)
    cursors.settle("x", run_no, 1, "no")
    letters.mark_due(["x"])
    is_settled = [cursors.pending("x", run_no, 1, 1).is_settled]

    cursors.settle("x", run_no, 1, "never")
    is_settled.append(cursors.pending("x", run_no, 1, 1).is_settled)
    letters.mark_due(["x"])
    cursors.settle("x", run_no, 1)

    assert (is_settled, letters.of(["x"]), cursors.behind("x")) == ([False, True], [], [])


def test_a_letter_says_what_was_tracked(
    database: Database, cursors: Cursors, letters: Letters
) -> None:
    """Where it stood, by whom, when, and why it was refused."""
    run_no = commit(
        database, fold(line("track", ts=5, task=["a", "b"], step=-7, values={"\ud800": [1]}))
    )
    cursors.acknowledge("x", run_no, 1, {1: "no"})

    (letter,) = letters.of(["x"], "r")

    assert (letter.backend, letter.run_id, letter.position, letter.ts) == ("x", "r", 1, 5)
    assert (letter.task, letter.key, letter.step) == (("a", "b"), "\ud800", -7)
    assert (letter.value, letter.reason) == ([1], "no")


def test_letters_are_chosen_by_backend_and_run(
    database: Database, cursors: Cursors, letters: Letters
) -> None:
    """What is done with some concerns no others."""
    first, second = three(database), commit(database, other())
    for backend in "xy":
        cursors.acknowledge(backend, first, 3, {1: "no", 2: "no"})
        cursors.acknowledge(backend, second, 1, {1: "no"})

    counts = [letters.mark_due(["x"], "other"), letters.discard(["y"], "r"), letters.discard(["z"])]

    left = [(letter.backend, letter.run_id, letter.is_due) for letter in letters.of("xy")]
    assert counts == [1, 2, 0]
    assert left == [
        ("x", "r", False),
        ("x", "r", False),
        ("x", "other", True),
        ("y", "other", False),
    ]
