"""What must hold of any bytes at all, once they are a spool: decoded, folded, stored, read back."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Final, cast

from steplog.decoding import decode
from steplog.events import Malformed, Track
from steplog.values import from_column
from steplogd.core.fold import Fold
from steplogd.core.state import RunState
from steplogd.store.run_logs import FoldedRun, RunLogs
from tests.folding import fold_pieces, pieces
from tests.lines import ARRIVED_TS
from tests.stores import ARCHIVE_SCHEMA, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplog.decoding import AnyEvent
    from steplogd.store.database import Database

GOOD: Final = b'{"t":"track","w":"good","n":7,"ts":9,"task":"a","step":3,"values":{"x":[1,"y"]}}'
GOOD_EVENT: Final = Track(w="good", n=7, ts=9, task="a", step=3, values={"x": [1, "y"]})


class _InMemory:
    """A store that forgets: what `RunLogs` needs of one."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.executescript(SCHEMA + ARCHIVE_SCHEMA)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; nothing is committed."""
        yield self.connection

    reading = transaction


_STORE: Final = _InMemory()


def check(data: bytes) -> None:
    """Fail with an AssertionError, or whatever was raised, when something does not hold."""
    lines = data + b"\n"
    events = decode(lines)
    _check_places(lines, events)
    _check_lines_stand_alone(lines, events)
    _check_neighbours(data)
    _check_cuts(lines)
    _check_store(events)


def _check_places(lines: bytes, events: list[AnyEvent]) -> None:
    """See that what is set aside stands where it says, in order, and no byte of it twice."""
    end = 0
    for event in events:
        if isinstance(event, Malformed):
            assert event.offset >= end
            assert event.line
            assert event.reason
            end = event.offset + len(event.line)
            assert lines[event.offset : end] == event.line


def _check_lines_stand_alone(lines: bytes, events: list[AnyEvent]) -> None:
    """See that each line gives what it gives by itself, at least one event unless it is blank."""
    alone: list[AnyEvent] = []
    offset = 0
    for line in lines.split(b"\n"):
        found = decode(line + b"\n", offset)
        assert bool(found) == bool(line.strip())
        alone += found
        offset += len(line) + 1
    assert repr(alone) == repr(events)


def _check_neighbours(data: bytes) -> None:
    """See that a valid line arrives whatever stands before it, also glued to it, or after it."""
    for spool in (data + b"\n" + GOOD + b"\n", data + GOOD + b"\n"):
        assert decode(spool)[-1] == GOOD_EVENT
    assert decode(GOOD + b"\n" + data + b"\n")[0] == GOOD_EVENT


def _check_cuts(lines: bytes) -> None:
    """See that the run log is the same wherever a reader stopped for a while."""
    whole = repr(fold_pieces([lines]))
    middle, mixed = len(lines) // 2, sum(lines[:64])
    assert repr(fold_pieces(pieces(lines, [middle]))) == whole
    assert repr(fold_pieces(pieces(lines, [mixed, mixed * 7, mixed * 31]))) == whole


def _check_store(events: list[AnyEvent]) -> None:
    """See that all of it can be stored, the end of the run too, and is loaded as it was."""
    run = FoldedRun(0, RunState("r"), 0)
    folding = Fold(run.state)
    folding.apply(events, ARRIVED_TS)
    folding.end_run()
    changes = folding.take_changes()
    logs = RunLogs(cast("Database", _STORE))
    _STORE.connection.execute("BEGIN")
    try:
        logs.commit([(run, changes)])
        loaded = logs.load("r").state
        sql = "SELECT value FROM observation ORDER BY position"
        columns = [column for (column,) in _STORE.connection.execute(sql)]
    finally:
        _STORE.connection.execute("ROLLBACK")
    told = [from_column(row[-1]) for row in changes.observations]
    assert repr([from_column(column) for column in columns]) == repr(told)
    assert _kept(loaded) == _kept(run.state)


def _kept(state: RunState) -> tuple[Any, ...]:
    """Return what must be loaded as it was stored; texts lose their lone surrogates."""
    tasks = [(task.path, task.status, task.mock, task.occupants) for task in state.tasks]
    maps = repr((state.parameters, state.config))
    counts = state.position, state.revision, state.lost, state.gaps, state.repeated
    rest = state.unknown, state.malformed, state.status, state.start_ts, state.end_ts
    series = {place: keys for place, keys in state.series.items() if keys}
    return state.writers, series, state.series_count, tasks, maps, counts, rest
