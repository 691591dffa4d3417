"""The limit of the log: what is let through, what is counted, and when that is said."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import structlog

from steplogd.logs import log_limit
from steplogd.logs.log_limit import (
    LEFT_OUT,
    MOST_NAMED,
    MOST_OF_A_KIND,
    MOST_OF_THE_SAME,
    WINDOW_SECONDS,
    LogLimit,
)
from tests.conftest import wait_until

if TYPE_CHECKING:
    import pytest

_LEFT_OUT_KEYS = {"event", "level", "of", "count"}


class Sink:
    """A limit with a clock to be turned, and what came through."""

    def __init__(self, *, is_timed: bool = False) -> None:
        self.now = 0.0
        self.said: list[dict[str, Any]] = []
        self.limit = LogLimit(self.say, clock=lambda: self.now, is_timed=is_timed)

    def say(self, level: str, event: str, **about: Any) -> None:
        """Log a line by way of the limit, as structlog does."""
        told = {name: value for name, value in about.items() if value is not None}
        try:
            self.limit(None, level, {"event": event, **told})
        except structlog.DropEvent:
            return
        self.said.append({"event": event, "level": level, **told})

    def left_out(self) -> list[dict[str, Any]]:
        """Return what was said of lines that were left out."""
        return [told for told in self.said if told["event"] == LEFT_OUT]


def test_ten_thousand_dead_letters_of_a_run_are_a_few_lines_and_a_count() -> None:
    """Each of the first says why; the count comes when the time is over."""
    sink = Sink()
    for position in range(10_000):
        sink.say("warning", "dead letter", backend="m", run="r", key=str(position))
    sink.now += WINDOW_SECONDS
    sink.say("info", "run ended", run="r")

    assert [told.get("key") for told in sink.said[:MOST_OF_THE_SAME]] == ["0", "1", "2", "3", "4"]
    assert sink.said[MOST_OF_THE_SAME:] == [
        {
            "event": LEFT_OUT,
            "level": "warning",
            "of": "dead letter",
            "count": 10_000 - MOST_OF_THE_SAME,
            "backend": "m",
            "run": "r",
        },
        {"event": "run ended", "level": "info", "run": "r"},
    ]


def test_other_runs_backends_and_kinds_have_room_of_their_own() -> None:
    """A flood of one run hides no other's."""
    sink = Sink()
    for _ in range(100):
        sink.say("warning", "dead letter", backend="m", run="r")
    others = [("m", "s", "dead letter"), ("n", "r", "dead letter"), ("m", "r", "run refused")]
    for backend, run, event in others:
        sink.say("warning", event, backend=backend, run=run)

    assert len(sink.said) == MOST_OF_THE_SAME + len(others)


def test_each_of_many_runs_is_said_up_to_what_the_journal_takes() -> None:
    """Beyond that they are counted, by kind; its own limit would drop errors too."""
    sink = Sink()
    for number in range(MOST_OF_A_KIND + 7):
        sink.say("info", "run ended", run=f"r{number}")
    sink.say("error", "store set aside")
    sink.limit.flush()

    assert len(sink.said) == MOST_OF_A_KIND + 2
    assert sink.said[-2]["event"] == "store set aside"
    assert sink.left_out() == [
        {"event": LEFT_OUT, "level": "info", "of": "run ended", "count": 7},
    ]


def test_a_later_time_has_room_again() -> None:
    """And what was let through before counts no more."""
    sink = Sink()
    for _ in range(3):
        for _ in range(MOST_OF_THE_SAME):
            sink.say("warning", "backend unavailable", backend="m")
        sink.now += WINDOW_SECONDS

    assert len(sink.said) == 3 * MOST_OF_THE_SAME
    assert sink.left_out() == []


def test_what_is_said_of_the_rest_is_no_flood_either() -> None:
    """The first runs by name, all others together."""
    sink = Sink()
    for number in range(1_000):
        for _ in range(MOST_OF_THE_SAME + 1):
            sink.say("warning", "dead letter", backend="m", run=str(number))
    sink.limit.flush()

    assert len(sink.left_out()) <= MOST_NAMED + 1
    assert sum(told["count"] for told in sink.left_out()) == 6_000 - MOST_OF_A_KIND
    assert sink.left_out()[-1].keys() == _LEFT_OUT_KEYS


def test_memory_is_bounded_whatever_is_logged() -> None:
    """By what is let through of each kind."""
    sink = Sink()
    for number in range(4 * MOST_OF_A_KIND):
        sink.say("warning", "dead letter", backend="m", run=str(number))

    assert len(sink.limit._by_same) == MOST_OF_A_KIND
    assert len(sink.limit._left_out) == 1


def test_the_count_comes_though_nothing_else_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a timer, in a thread that keeps no process from ending."""
    monkeypatch.setattr(log_limit, "WINDOW_SECONDS", 0.01)
    sink = Sink(is_timed=True)
    for _ in range(MOST_OF_THE_SAME + 1):
        sink.say("warning", "backend unavailable", backend="m")

    wait_until(lambda: [told["count"] for told in sink.left_out()] == [1])


def test_without_a_thread_for_the_timer_the_count_comes_with_the_next_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system may have none left; who logs is told nothing of that."""

    def fail(_: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", fail)
    sink = Sink(is_timed=True)
    for _ in range(MOST_OF_THE_SAME + 1):
        sink.say("warning", "backend unavailable", backend="m")
    sink.now += WINDOW_SECONDS
    sink.say("info", "run ended", run="r")

    assert [told["count"] for told in sink.left_out()] == [1]
