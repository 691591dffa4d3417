"""What a tracker holds already of a run whose cursor is in doubt: it does not come again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from steplogd.delivery.already_there import AlreadyThere
from steplogd.delivery.contract import Limits, Observation, Point, Refused, Unavailable
from steplogd.delivery.courier import Courier
from steplogd.delivery.memory import MemoryBackend, MemoryOptions
from steplogd.store.cursors import Cursors
from steplogd.store.database import Database, StoreError
from steplogd.store.holding import give_back, take
from steplogd.store.run_logs import FoldedRun, RunLogs
from tests.lines import Scribe, fold, line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from steplogd.delivery.contract import RunInfo
    from steplogd.delivery.memory import Call, MemoryRun

SIZE = 1000
"""Of the spool in bytes, when the store was lost."""


class Anew:
    """A tracker in memory that holds some of a run, and a store that was made anew."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.backend = MemoryBackend(MemoryOptions(), home)
        self.backend.limits = Limits(observations=3)
        self.database = Database(home / "steplog.db")
        take(self.database, lambda: {"r": SIZE})
        self.restart()

    def restart(self) -> None:
        """Let another daemon take over."""
        self.cursors = Cursors(self.database)
        self.courier = Courier("x", self.backend, self.cursors)

    def commit(self, *lines: bytes, offset: int = SIZE) -> int:
        """Fold lines into a new run; return its number."""
        folding = fold(*lines)
        run = FoldedRun(0, folding.state, offset)
        RunLogs(self.database).commit([(run, folding.take_changes())])
        return run.run_no

    def deliver(self, run_no: int = 1) -> None:
        """Advance until there is no more."""
        while self.courier.advance(run_no):
            pass

    @property
    def found(self) -> MemoryRun:
        """What the tracker has."""
        return self.backend.tracker.runs["r"]

    def lose(self) -> None:
        """Make the store anew, as a daemon does."""
        self.database.close()
        for path in self.home.glob("steplog.db*"):
            path.unlink()
        self.__init__(self.home)  # type: ignore[misc]


@pytest.fixture
def anew(tmp_path: Path) -> Iterator[Anew]:
    """Build all of it."""
    made = Anew(tmp_path)
    yield made
    made.database.close()


def tracks(count: int, **values: Any) -> list[bytes]:
    """Return lines that say neither who nor when; they are equal but for their step, if that."""
    return [line("track", values=values or {"x": 0.5}) for _ in range(count)]


@pytest.mark.parametrize("sent", range(9))
def test_what_the_tracker_holds_is_not_sent_again(anew: Anew, sent: int) -> None:
    """However much of it that is, and though one value is like another."""
    lines = [*tracks(4), *tracks(2, x=1), *tracks(2)]
    anew.commit(*lines[:sent], offset=sent)
    anew.deliver()
    anew.lose()
    anew.commit(*lines)

    anew.deliver()

    assert anew.found.received == 8
    assert [seen.value for _, seen in sorted(anew.found.observations.items())] == [
        *[0.5] * 4,
        1,
        1,
        0.5,
        0.5,
    ]


def test_what_came_since_counts_for_nobody_else(anew: Anew) -> None:
    """A session that breaks reads the tracker anew, and passes over what was acknowledged."""
    lines = tracks(10)
    anew.commit(*lines[:4], offset=4)
    anew.deliver()
    anew.lose()
    anew.commit(*lines)
    anew.courier.advance(1)
    anew.courier.advance(1)
    anew.courier.advance(1)
    anew.restart()

    anew.deliver()

    assert sorted(anew.found.observations) == list(range(1, 11))
    assert anew.found.received == 10


def test_steps_that_hash_alike_are_told_apart(anew: Anew) -> None:
    """In Python -1 and -2 have one hash."""
    lines = [line("track", step=step, values={"x": 0.5}) for step in (-1, -2)]
    anew.commit(lines[0], offset=1)
    anew.deliver()
    anew.lose()
    anew.commit(*lines)

    anew.deliver()

    assert sorted(anew.found.observations) == [1, 2]


def test_a_tracker_that_cannot_be_read_gets_all_of_it(anew: Anew) -> None:
    """That is better than too little: each observation arrives at least once."""
    lines = tracks(5)
    anew.commit(*lines)
    anew.deliver()
    anew.lose()
    anew.commit(*lines)

    def refuse(call: Call) -> None:
        if call.method == "held":
            raise Refused("not for you")

    anew.backend.tracker.fault = refuse
    anew.deliver()

    assert anew.found.received == 10


def test_a_tracker_that_cannot_be_read_now_is_waited_for(anew: Anew) -> None:
    """Nothing is sent before it was asked."""
    lines = tracks(5)
    anew.commit(*lines)
    anew.deliver()
    anew.lose()
    anew.commit(*lines)

    def fail(call: Call) -> None:
        if call.method == "held":
            raise Unavailable("later")

    anew.backend.tracker.fault = fail
    with pytest.raises(Unavailable):
        anew.deliver()
    anew.backend.tracker.fault = None
    anew.deliver()

    assert anew.found.received == 5


class Full(Cursors):
    """A ledger whose disk is full when something is acknowledged for the first time."""

    is_full = True

    def acknowledge(self, *arguments: Any, **options: Any) -> None:
        """Fail once."""
        if self.is_full:
            self.is_full = False
            raise StoreError("full")
        super().acknowledge(*arguments, **options)


def refuse_bad(call: Call) -> None:
    """Refuse each batch that has a bad key in it."""
    if any(seen.key == "bad" for seen in call.batch):
        raise Refused("bad key")


def test_what_cannot_be_acknowledged_is_asked_for_anew(anew: Anew) -> None:
    """Of a batch whose beginning alone is refused again, the rest does not come again."""
    anew.backend.tracker.fault = refuse_bad
    lines = [*tracks(1, bad=1), *tracks(2)]
    anew.commit(*lines)
    anew.deliver()
    anew.lose()
    anew.commit(*lines)
    anew.courier = Courier("x", anew.backend, Full(anew.database))
    with pytest.raises(Exception, match="full"):
        anew.deliver()

    anew.deliver()

    assert anew.found.received == 2


def test_what_is_refused_is_a_dead_letter_again(anew: Anew) -> None:
    """And what stands beside it in a batch is there already."""
    anew.backend.tracker.fault = refuse_bad
    lines = [*tracks(4), *tracks(1, bad=1), *tracks(4)]
    for _ in range(2):
        anew.lose()
        anew.commit(*lines)
        anew.deliver()

    with anew.database.reading() as connection:
        dead = connection.execute("SELECT position, reason FROM dead_letter").fetchall()
    assert dead == [(5, "bad key")]
    assert anew.found.received == 8
    assert anew.cursors.backlog("x").observations == 0


def test_a_tracker_is_asked_no_more_once_a_run_is_beyond_doubt(anew: Anew) -> None:
    """What was tracked after the loss was never sent."""
    calls: list[str] = []
    anew.backend.tracker.fault = lambda call: calls.append(call.method)
    a = Scribe()
    folding = fold(a.track())
    run = FoldedRun(0, folding.state, SIZE)
    RunLogs(anew.database).commit([(run, folding.take_changes())])
    anew.deliver()
    first = calls.count("held")
    fold(a.track(), into=folding)
    run.offset += 100
    RunLogs(anew.database).commit([(run, folding.take_changes())])
    anew.restart()

    anew.deliver()

    assert (first, calls.count("held")) == (1, 1)
    assert anew.found.received == 2


def test_a_store_that_was_closed_is_beyond_doubt(anew: Anew) -> None:
    """Nobody reads the spools, the file or the tracker for it."""
    anew.commit(*tracks(1))
    anew.deliver()
    give_back(anew.database)
    anew.database.close()

    def fail() -> dict[str, int]:
        raise AssertionError

    anew.database = Database(anew.home / "steplog.db")
    take(anew.database, fail)
    anew.restart()

    assert anew.cursors.behind("x") == []


class Merging:
    """A session of a tracker that holds equal points of one moment once."""

    merges_equal_points = True

    def __init__(self, *points: Point) -> None:
        self._points = points

    def expected(self, batch: Sequence[Observation]) -> Iterator[Point]:
        """Say what these observations are here."""
        for seen in batch:
            yield Point("metric", seen.key, seen.step, seen.ts, str(seen.value))

    def expected_state(self, run: RunInfo) -> Iterator[Point]:
        """Say nothing."""
        raise AssertionError

    def held(self) -> Iterator[Point]:
        """Return what it was made with."""
        return iter(self._points)

    def send(self, batch: Sequence[Observation]) -> None:
        """Be sent nothing."""
        raise AssertionError

    def settle(self, run: RunInfo) -> None:
        """Be told nothing."""
        raise AssertionError

    def close(self) -> None:
        """Do nothing."""


def test_what_a_tracker_merged_is_there_with_what_it_was_merged_with() -> None:
    """Lines of one arrival, folded again at another; what came later stands apart."""
    session = Merging(Point("metric", "x", 0, 1, "0.5"))
    batch = [Observation(at, ("t",), 0, "x", 0, ts, 0.5) for at, ts in ((1, 7), (2, 7), (3, 8))]

    missing = AlreadyThere(session, []).missing(batch)

    assert missing == batch[2:]
