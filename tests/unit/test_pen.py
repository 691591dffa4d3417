"""The pen among threads: whoever waits gets it, whatever the others do, and lines stay cheap."""

from __future__ import annotations

import math
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from steplog.pen import Pen
from steplog.writer import Writer
from tests.conftest import DEADLINE_SECONDS, is_gapless, numbers, tracked, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def writer(home: Path) -> Iterator[Writer]:
    """Return a writer that is in a run."""
    writer = Writer(home, "r", lambda: None)
    writer.join("", {}, {})
    yield writer
    writer.close()


class Waiting(threading.Thread):
    """A thread that waits for a pen once."""

    def __init__(self, pen: Pen) -> None:
        super().__init__(daemon=True)
        self._pen = pen
        self.has_it: bool | None = None
        before = len(pen.waiting)
        self.start()
        wait_until(lambda: len(pen.waiting) > before or not self.is_alive())

    def run(self) -> None:
        """Wait."""
        self.has_it = self._pen.wait()


def run_threads(*works: Callable[[], object]) -> None:
    """Let threads work side by side; fail where one does not come back."""
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert [] == [thread for thread in threads if thread.is_alive()]


def in_hand() -> Pen:
    """Return a pen that its place no longer has."""
    return Pen().place.pop()


def test_within_a_turn_it_goes_back_to_its_place() -> None:
    """Who has a turn can write on at once, though another one waits."""
    pen = in_hand()
    pen.turn_ends = math.inf
    baton = threading.Lock()
    baton.acquire()
    pen.waiting.append(baton)
    pen.put_back()

    assert pen.place == [pen]
    assert pen.waiting == [baton]
    assert baton.locked()


def test_at_the_end_of_a_turn_who_has_waited_longest_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is handed over and does not lie there for whoever comes; a new turn begins."""
    monkeypatch.setattr("steplog.pen.LOOK_SECONDS", DEADLINE_SECONDS)
    pen = in_hand()
    first, second = Waiting(pen), Waiting(pen)
    pen.put_back()
    first.join(DEADLINE_SECONDS)

    assert first.has_it
    assert second.is_alive()
    assert pen.place == []
    assert pen.turn_ends > 0
    pen.turn_ends = 0
    pen.put_back()


def test_who_waits_takes_it_where_nobody_goes_on() -> None:
    """A turn that its thread makes nothing of is no reason to wait for its end."""
    pen = in_hand()
    pen.turn_ends = math.inf
    waiting = Waiting(pen)
    pen.put_back()
    waiting.join(DEADLINE_SECONDS)

    assert waiting.has_it
    assert pen.place == []
    assert pen.waiting == []


def test_who_waits_in_vain_says_so_and_waits_no_longer() -> None:
    """A pen that nobody puts back is given up after a while, or its writer would never go on."""
    pen = in_hand()

    assert not pen.wait()
    assert pen.waiting == []


def test_an_error_while_it_is_waited_for_leaves_nobody_in_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pen is never handed to who was interrupted while waiting."""

    def interrupted(_: Pen) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pen, "_take", interrupted)
    pen = in_hand()
    with pytest.raises(KeyboardInterrupt):
        pen.wait()

    assert pen.waiting == []


def test_threads_that_do_nothing_else_write_every_line_once(home: Path, writer: Writer) -> None:
    """Eight threads at once: each line is there once and in its order, and no number is missing."""

    def work(thread: int) -> None:
        for step in range(1_000):
            writer.track("main", step, {"thread": thread})

    run_threads(*(partial(work, thread) for thread in range(8)))

    steps = [[e.step for e in tracked(home) if e.values["thread"] == one] for one in range(8)]
    assert steps == 8 * [list(range(1_000))]
    assert len(numbers(home)) == 1
    assert is_gapless(numbers(home))


def test_nobody_starves_beside_threads_that_never_stop(home: Path, writer: Writer) -> None:
    """A thread that tracks now and then gets its turn, though others leave no pause."""
    is_over = threading.Event()

    def hasten() -> None:
        while not is_over.is_set():
            writer.track("main", 0, {"busy": 1})

    def track() -> None:
        try:
            for step in range(50):
                writer.track("main", step, {"rare": 1})
        finally:
            is_over.set()

    run_threads(hasten, hasten, track)

    assert sum("rare" in event.values for event in tracked(home)) == 50
    assert is_gapless(numbers(home))


@pytest.mark.parametrize("left_behind", [0, 2], ids=["nobody", "two that wait no longer"])
def test_a_pen_that_nobody_puts_back_stops_no_thread(
    home: Path, writer: Writer, left_behind: int
) -> None:
    """Whoever met an error within an error may take the pen with him: the others write on."""
    pen = writer._place.pop()
    pen.waiting += [threading.Lock() for _ in range(left_behind)]

    def work() -> None:
        for step in range(50):
            writer.track("main", step, {"a": 1})

    run_threads(*4 * [work])

    assert len(tracked(home)) == 200
    assert is_gapless(numbers(home))
