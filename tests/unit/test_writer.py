"""The writer: numbers, what it says first, what it loses, and how it goes on after that."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from steplog import TrackingError, configure
from steplog.events import MAX_LINE_BYTES, Join, Leave, Lost, Open, Start, Track
from steplog.writer import Writer
from tests.conftest import events, is_gapless, numbers, tracked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def writer(home: Path) -> Writer:
    """Return a writer that has said nothing yet."""
    return Writer(home, "r", lambda: None)


def test_lines_are_numbered_from_the_opening_on(home: Path, writer: Writer) -> None:
    """A writer says who it is first, and numbers all that it says without gaps."""
    writer.track("main", 1, {"a": 1})
    writer.track("main", 2, {"a": "text"})
    writer.track("main", 3, {"a": 0.5, "b": 1})
    writer.track("main", 4, {"a": True})
    writer.leave("SUCCESS", "")

    opened, *others = events(home)
    assert isinstance(opened, Open)
    assert (opened.pid, opened.host) == (os.getpid(), os.uname().nodename)
    assert [type(event) for event in others] == [Track, Track, Track, Track, Leave]
    assert list(numbers(home).values()) == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    "values",
    [
        {"a": 0.5},
        {"a": 1e308, "b": 1e308},
        {"a": float("inf"), "b": float("-inf")},
        {"a": 10**400, "b": -(10**400)},
        {"a": 10**5000},
        {"a": True, "b": 2**70},
        {},
        {"a": "text", "b": None},
    ],
    ids=["float", "sum", "infinities", "integers", "digits", "mixed", "nothing", "text"],
)
def test_values_come_back_as_they_went_in(
    home: Path, writer: Writer, values: dict[str, Any]
) -> None:
    """Whichever way is taken for the sake of speed, the values are the same."""
    writer.track("main", 0, {"first": "opens the spool"})
    writer.track("main", 1, values)

    assert tracked(home)[-1].values == values
    assert list(map(type, tracked(home)[-1].values.values())) == [*map(type, values.values())]


def test_lost_events_are_counted_and_told(
    home: Path, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be encoded costs itself alone, is told in the spool, and warned of once."""
    for step in range(3):
        writer.track("main", step, {"a": object()})
    writer.track("main", 3, {"a": 0.5})

    assert [type(event) for event in events(home)] == [Open, Lost, Track]
    (lost,) = [event for event in events(home) if isinstance(event, Lost)]
    assert lost.count == 3
    assert "builtins.object" in lost.reason
    assert is_gapless(numbers(home))
    assert len(caplog.records) == 1


class Broken(Exception):
    """An error whose text is broken."""

    def __str__(self) -> str:
        raise ValueError


class Stubborn:
    """A scalar that gives no value."""

    def item(self) -> None:
        """Fail with an error that cannot be shown."""
        raise Broken


@pytest.mark.parametrize(
    ("step", "values"),
    [
        (0, {"a": Stubborn()}),
        (0, {"a": "x" * MAX_LINE_BYTES}),
        ("three", {"a": 1}),
        (2**63, {"a": 1}),
        (0, None),
        (0, 5),
    ],
    ids=["error", "long", "step", "large step", "none", "number"],
)
def test_nothing_is_raised(home: Path, writer: Writer, step: Any, values: Any) -> None:
    """Whatever is wrong with a call, the task goes on and the next event arrives."""
    writer.track("main", step, values)
    writer.track("main", 1, {"a": 0.5})

    assert [type(event) for event in events(home)] == [Open, Lost, Track]


def test_strict_raises_and_counts_once(home: Path, writer: Writer) -> None:
    """Who asks for it gets each loss as an error, and the spool still says how many."""
    configure(strict=True)
    with pytest.raises(TrackingError, match="run r was not recorded"):
        writer.track("main", 0, {"a": object()})
    with pytest.raises(TrackingError, match="cannot be tracked"):
        writer.append(Start, parameters={"a": object()})
    writer.track("main", 1, {"a": 0.5})

    assert [event.count for event in events(home) if isinstance(event, Lost)] == [2]


def test_joining_says_what_the_run_is(home: Path, writer: Writer) -> None:
    """Tag, parameters and configuration stand in the spool at once."""
    writer.join("tag", {"rate": 0.5, "nan": float("nan")}, {"command": ["a"]})

    _, joined = events(home)
    assert isinstance(joined, Join)
    assert (joined.tag, joined.config) == ("tag", {"command": ["a"]})
    assert repr(joined.parameters) == "{'rate': 0.5, 'nan': nan}"


def test_parameter_that_cannot_be_encoded_costs_itself_alone(home: Path, writer: Writer) -> None:
    """One bad parameter, or one too long, neither hides the others nor stops the run."""
    bad = {"a": 1, "bad": object(), "long": "x" * MAX_LINE_BYTES, "b": None}
    writer.join("", bad, {})
    writer.append(Start, task="train", parameters=bad)
    writer.append(Start, task="train", parameters=MappingProxyType(bad))

    found = [e.parameters for e in events(home) if isinstance(e, Join | Start)]
    assert found == 3 * [{"a": 1, "b": None}]
    assert sum(e.count for e in events(home) if isinstance(e, Lost)) == 6


def test_many_parameters_that_just_fit_do_not_stop_the_run(home: Path, writer: Writer) -> None:
    """Parameters never take a line so far that it could not be written at all."""
    writer.join("t" * 4000, {f"p{k}": "x" * 1000 for k in range(250)}, {"command": ["c" * 8000]})
    writer.track("main", 1, {"a": 0.5})

    assert [event.step for event in tracked(home)] == [1]
    assert any(isinstance(event, Join) for event in events(home))


def test_parameters_that_change_later_stand_as_they_were(home: Path, writer: Writer) -> None:
    """What a run was started with is kept, also while the spool cannot be written yet."""
    (home / "spool" / "r.jsonl").mkdir(parents=True)
    parameters: dict[str, Any] = {"layers": [1]}
    writer.join("", parameters, {})
    parameters["layers"].append(2)
    (home / "spool" / "r.jsonl").rmdir()
    writer.track("main", 0, {"a": 1})

    (joined,) = [event for event in events(home) if isinstance(event, Join)]
    assert joined.parameters == {"layers": [1]}


def test_event_after_leaving_is_kept_and_holds_no_lock(home: Path, writer: Writer) -> None:
    """What comes late is in the spool, and does not make the run look alive."""
    writer.join("", {}, {})
    writer.leave("SUCCESS", "")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for step in range(10):
        writer.track("main", step, {"late": 1})

    assert len(tracked(home)) == 10
    assert is_gapless(numbers(home))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_closing_twice_does_no_harm(home: Path, writer: Writer) -> None:
    """A writer that was closed, or never opened, can be closed and goes on."""
    writer.close()
    writer.close()
    writer.track("main", 1, {"a": 0.5})

    assert [event.step for event in tracked(home)] == [1]


def test_interrupted_writer_goes_on_as_a_further_one(home: Path, writer: Writer) -> None:
    """After an interrupt in the middle of an event, the next one is a further writer's."""

    class Interrupting:
        def item(self) -> None:
            raise KeyboardInterrupt

    writer.join("", {}, {})
    with pytest.raises(KeyboardInterrupt):
        writer.track("main", 0, {"a": Interrupting()})
    writer.track("main", 1, {"a": 0.5})

    first, second = (event for event in events(home) if isinstance(event, Open))
    assert second.of == first.w
    assert is_gapless(numbers(home))


def test_value_that_tracks_while_it_is_encoded_waits_for_nobody(home: Path, writer: Writer) -> None:
    """A value that tracks in the middle of being encoded is written as a further writer's."""

    class Tracking(float):
        def __float__(self) -> float:
            writer.track("main", 5, {"inner": 1})
            return 0.5

    writer.track("main", 0, {"a": 1})
    writer.track("main", 1, {"outer": Tracking(0.5)})

    assert {"inner": 1} in [event.values for event in tracked(home)]
    assert {"outer": 0.5} in [event.values for event in tracked(home)]
    assert is_gapless(numbers(home))
