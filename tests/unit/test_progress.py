"""Whether a thread gets nearer to its turn in the store, as a watchdog asks."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from steplogd.store.database import Database
from tests.conftest import DEADLINE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Waiting:
    """A thread that waits for its turn in a store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.thread = threading.Thread(target=database.have_turn)
        self.thread.start()
        wait_until(lambda: self.pulse() != (None, None))

    def pulse(self) -> object:
        """Return what changes while it gets nearer."""
        return self._database.pulse(self.thread.native_id or 0)


@pytest.fixture
def waiting(database: Database) -> Iterator[Waiting]:
    """Have a thread wait for its turn in the store, which the test has."""
    with database.transaction():
        found = Waiting(database)
        yield found
    found.thread.join(DEADLINE_SECONDS)


def test_thread_that_waits_for_nothing_has_no_pulse_here(database: Database) -> None:
    """Neither has one that has the store."""
    me = threading.get_native_id()
    with database.transaction():
        within = database.pulse(me)

    assert within == database.pulse(me) == (None, None)


def test_thread_that_waits_for_who_does_not_end_stands_still(waiting: Waiting) -> None:
    """Somebody hangs in the middle of a transaction."""
    assert len({waiting.pulse() for _ in range(1000)}) == 1


def test_those_who_wait_get_on_with_each_turn(database: Database) -> None:
    """Whoever had it."""
    with database.reading():  # the turn to read, which comes after that to write
        with database.transaction():
            waiting = Waiting(database)
            before = waiting.pulse()

        wait_until(lambda: waiting.pulse() not in (before, (None, None)))
        is_alive = waiting.thread.is_alive()
    waiting.thread.join(DEADLINE_SECONDS)

    assert is_alive
    assert waiting.pulse() == (None, None)


def test_thread_that_waits_for_another_programs_lock_gets_on(tmp_path: Path) -> None:
    """SQLite waits for it for some seconds, and then gives up: that is no standstill."""
    path = tmp_path / "steplog.db"
    with (
        closing(Database(path)) as database,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        writing = threading.Thread(target=write, args=[database])
        writing.start()
        pulses: list[object] = []

        def are_many() -> bool:
            pulses.append(database.pulse(writing.native_id or 0))
            return len(set(pulses)) > 20

        wait_until(are_many)
        other.execute("ROLLBACK")
        writing.join(DEADLINE_SECONDS)


def write(database: Database) -> None:
    """Write nothing much."""
    with database.transaction() as connection:
        connection.execute("UPDATE store SET state = 'open'")
