"""What the fold makes of events; who is in a run is test_membership's."""

from __future__ import annotations

import math

import pytest

from steplog.events import MAX_NUMBER
from steplog.values import from_column
from tests.lines import ARRIVED_TS, Scribe, columns, fold, line, rows


def test_each_value_is_an_observation_at_its_own_position() -> None:
    """Positions count from 1, over all keys and lines, in the order of the spool."""
    a = Scribe()

    folding = fold(a.track(step=3, loss=0.5, acc=1.0), a.track(step=4, loss=0.25))

    observed = [
        (position, series, step, value) for position, series, step, _, value in rows(folding)
    ]
    assert observed == [(1, 0, 3, 0.5), (2, 1, 3, 1.0), (3, 0, 4, 0.25)]
    assert folding.state.position == 3


@pytest.mark.parametrize(
    "value", [0.5, -0.0, 1, True, None, "NaN", [1, {"a": None}], 2**70, math.inf, -math.inf]
)
def test_a_value_comes_back_from_its_column(value: object) -> None:
    """With its type: 1 is not 1.0, true is not 1."""
    written = (
        {"$float": str(value).replace("inf", "Infinity")}
        if value
        in (
            math.inf,
            -math.inf,
        )
        else value
    )

    (column,) = columns(fold(Scribe().track(x=written)))

    assert repr(from_column(column)) == repr(value)


def test_nan_comes_back_from_its_column() -> None:
    """SQLite would make it NULL: it goes as text."""
    (column,) = columns(fold(Scribe().track(x={"$float": "NaN"})))

    assert isinstance(column, str)
    assert math.isnan(from_column(column))


def test_a_line_that_comes_twice_counts_once() -> None:
    """Its writer repeated it after a short write."""
    a = Scribe()
    first, second = a.track(loss=0.5), a.track(loss=0.25)

    folding = fold(first, second, first, second)

    assert columns(folding) == [0.5, 0.25]
    assert folding.state.repeated == 2


def test_a_line_that_comes_twice_lets_nobody_in() -> None:
    """A repeated line says nothing about who is there now."""
    a = Scribe()
    lines = [a.line("open"), a.line("join"), a.track()]
    folding = fold(*lines)
    folding.end_run()

    fold(lines[-1], into=folding)

    assert folding.state.status == "FAIL"


def test_missing_numbers_are_counted() -> None:
    """Each writer by itself."""
    a, b = Scribe("a"), Scribe("b")
    kept = [a.track(), b.track()]
    for _ in range(3):
        a.track()

    folding = fold(*kept, a.track(), b.track())

    assert folding.state.gaps == 3


def test_lines_without_a_number_are_never_taken_for_repeated() -> None:
    """A shell script may say the same twice."""
    anonymous = line("track", values={"x": 1})
    unnumbered = line("track", w="a", values={"x": 2})

    folding = fold(anonymous, anonymous, unnumbered, unnumbered)

    assert columns(folding) == [1, 1, 2, 2]


def test_a_line_without_a_time_was_written_when_it_arrived() -> None:
    """And one with a time, then."""
    folding = fold(line("track", values={"x": 1}), line("track", ts=5, values={"x": 1}))

    assert [row[3] for row in rows(folding)] == [ARRIVED_TS, 5]


def test_a_run_starts_with_its_first_event() -> None:
    """Whatever that is, and however often it is looked at."""
    folding = fold(line("zzz", ts=7), line("track", ts=9, values={"x": 1}))

    assert folding.state.start_ts == 7
    assert folding.state.last_ts == 9


def test_what_is_no_known_event_is_kept_and_counted() -> None:
    """Kinds that we do not know are counted; what is no event is set aside with its place."""
    folding = fold(line("zzz", ts=7), b"torn{\n", line("track", values={"x": 1}))

    changes = folding.take_changes()
    assert folding.state.unknown == 1
    assert folding.state.malformed == 1
    assert [bad.line for bad in changes.set_aside] == [b"torn{"]
    assert len(changes.observations) == 1


def test_what_writers_lost_is_added_up() -> None:
    """A repeated line adds nothing."""
    a = Scribe()
    lost = a.line("lost", count=3, reason="OSError")

    folding = fold(lost, lost, a.line("lost", count=4))

    assert folding.state.lost == 7


def test_hostile_numbers_do_not_leave_64_bits() -> None:
    """SQLite has no larger integer, and one line must not stop the daemon."""
    lines = [line("lost", w=f"{w}", n=MAX_NUMBER, count=MAX_NUMBER) for w in range(2**15 + 1)]

    state = fold(*lines).state

    assert state.lost == state.gaps == 2**63 - 1


def test_catalog_and_code_stand_by_their_task() -> None:
    """Code without a task is the whole run's: number -1."""
    folding = fold(
        line("code", code_identifier="abc"),
        line("code", task="train", code_identifier="def"),
        line("catalog", task="train", name="model.pt", stage="get"),
    )

    changes = folding.take_changes()
    assert [(no, code["code_identifier"]) for no, code in changes.codes] == [
        (-1, "abc"),
        (0, "def"),
    ]
    assert [(no, entry["name"], entry["stage"]) for no, entry in changes.catalog] == [
        (0, "model.pt", "get")
    ]


def test_a_key_of_another_attempt_is_another_series() -> None:
    """So that a second attempt does not overwrite the first."""
    a = Scribe()
    attempt = [a.line("start", task="train"), a.track(), a.line("end", task="train")]
    again = [a.line("start", task="train"), a.track(), a.line("end", task="train")]

    folding = fold(*attempt, *again)

    assert [(attempt, key) for _, _, attempt, key in folding.take_changes().series] == [
        (1, "loss"),
        (2, "loss"),
    ]


@pytest.mark.parametrize("cut", [False, True])
def test_a_visitor_is_in_the_attempt_that_began_meanwhile(cut: bool) -> None:
    """Whether or not the lines come in one piece."""
    visitor, a = Scribe("v"), Scribe("a")
    lines = [visitor.track(), a.line("join"), visitor.track(), a.track(), visitor.track()]

    folding = fold(*lines[:-1])
    seen = rows(folding) if cut else []
    seen += rows(fold(lines[-1], into=folding))

    series = [series_no for _, series_no, *_ in seen]
    assert series == [0, 0, 1, 1]
    assert folding.state.series == {(0, 0): {"loss": 0}, (0, 1): {"loss": 1}}


def test_folding_costs_state_for_keys_and_not_for_steps() -> None:
    """The state of a long run is as large as that of a short one."""
    a = Scribe()

    folding = fold(*[a.track(step=step, loss=0.5) for step in range(1000)])

    assert folding.state.series == {(0, 0): {"loss": 0}}
    assert len(folding.state.writers) == 1
