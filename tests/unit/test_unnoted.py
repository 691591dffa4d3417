"""What a backend took while the store could not be written: noted later, and not sent again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from steplogd.delivery.contract import Limits, Refused
from steplogd.delivery.courier import Courier, Unnoted, Unread
from steplogd.delivery.memory import MemoryBackend, MemoryOptions
from steplogd.store.cursors import Cursors
from steplogd.store.letters import Letters
from steplogd.store.run_logs import FoldedRun, RunLogs
from tests.lines import Scribe, fold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.delivery.memory import Call, MemoryRun
    from steplogd.store.database import Database


class Route:
    """A store with one run, a tracker in memory, and the courier between them."""

    def __init__(self, database: Database, home: Path, *lines: bytes) -> None:
        run = FoldedRun(0, (folding := fold(*lines)).state, 0)
        RunLogs(database).commit([(run, folding.take_changes())])
        self.run_no = run.run_no
        self.cursors = Cursors(database)
        self.backend = MemoryBackend(MemoryOptions(), home)
        self.courier = Courier("x", self.backend, self.cursors)

    def advance_in_vain(self, times: int) -> None:
        """Try to deliver; each time the store cannot be written."""
        for _ in range(times):
            with pytest.raises(Unnoted, match="readonly"):
                self.courier.advance(self.run_no)

    def deliver(self) -> None:
        """Advance until there is no more."""
        while self.courier.advance(self.run_no):
            pass

    @property
    def arrived(self) -> MemoryRun:
        """Return what the tracker has."""
        return self.backend.tracker.runs["r"]


@contextlib.contextmanager
def unwritable(database: Database) -> Iterator[None]:
    """Let no transaction be committed for as long as the block lasts."""
    database._writer.execute("PRAGMA query_only = ON")
    yield
    database._writer.execute("PRAGMA query_only = OFF")


def test_batch_is_noted_later_and_not_sent_again(database: Database, tmp_path: Path) -> None:
    """Nothing more is sent before that, and nothing is forgotten."""
    a = Scribe()
    route = Route(database, tmp_path, *[a.track() for _ in range(7)])
    route.backend.limits = Limits(observations=3)
    route.courier.advance(route.run_no)  # its state
    with unwritable(database):
        route.advance_in_vain(5)
        meanwhile = sorted(route.arrived.observations), route.cursors.behind("x")
    route.deliver()

    assert meanwhile == ([1, 2, 3], [route.run_no])
    assert (sorted(route.arrived.observations), route.arrived.received) == ([*range(1, 8)], 7)
    assert route.cursors.behind("x") == []


def test_state_is_noted_later_and_not_settled_again(database: Database, tmp_path: Path) -> None:
    """The run's own state is no exception."""
    a = Scribe()
    route = Route(database, tmp_path, a.line("join", tag="t"), a.track())
    with unwritable(database):
        route.advance_in_vain(5)
    route.deliver()

    assert route.arrived.settlements == 1
    assert route.cursors.behind("x") == []


def test_refusal_becomes_a_dead_letter_later(database: Database, tmp_path: Path) -> None:
    """What a backend refused meanwhile is set aside as soon as that can be noted."""

    def refuse(call: Call) -> None:
        if any(seen.key == "bad" for seen in call.batch):
            raise Refused("bad key")

    a = Scribe()
    route = Route(database, tmp_path, a.track(bad=1), a.track(good=1))
    route.courier.advance(route.run_no)  # its state
    route.backend.tracker.fault = refuse
    with unwritable(database):
        route.advance_in_vain(3)
    route.deliver()

    letters = [(letter.position, letter.reason) for letter in Letters(database).of(["x"])]
    assert letters == [(1, "bad key")]
    assert (sorted(route.arrived.observations), route.arrived.received) == ([2], 1)


def test_a_store_that_cannot_be_read_is_told_from_a_tracker_that_fails(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks the tracker then, and it goes on when the store can be read."""

    def fail(*_: object) -> None:
        raise OSError("locked")

    route = Route(database, tmp_path, Scribe().track())
    with monkeypatch.context() as broken:
        broken.setattr(route.cursors, "pending", fail)
        with pytest.raises(Unread, match="locked"):
            route.courier.advance(route.run_no)

    opened = "r" in route.backend.tracker.runs
    route.deliver()

    assert not opened
    assert sorted(route.arrived.observations) == [1]
