"""Runs that ended and are come back to: kept in memory, and as the store has them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from steplogd.folding.recent import MOST_BYTES, RecentRuns
from steplogd.store.database import Database, StoreError
from steplogd.store.run_logs import FoldedRun, RunLogs
from tests.bench import line_over
from tests.lines import Scribe, append

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GRACE_SECONDS = 2.0


class CountingRunLogs(RunLogs):
    """Run logs that count how often one is loaded."""

    loads = 0

    def load(self, run_id: str) -> FoldedRun:
        """Load it, and count."""
        self.loads += 1
        return super().load(run_id)


class House:
    """A line over a home, in which runs end at once."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = Database(home / "steplog.db")
        self.now = 0.0
        self.restart()

    def restart(self) -> None:
        """Begin anew from what is committed."""
        self.run_logs = CountingRunLogs(self.database)
        self.line = line_over(self.home, self.database, run_logs=self.run_logs)

    def visit(self, w: str, *, fails: bool = False) -> None:
        """Let a process join, track, leave, and the run end."""
        scribe = Scribe(w)
        come = [scribe.line(kind) for kind in ("open", "join", "start")]
        tracked, end = scribe.track(loss=0.5), scribe.line("end")
        leave = scribe.line("leave", status="FAIL" if fails else "SUCCESS")
        append(self.home, "r", *come, tracked, end, leave)
        self.line.run(["r"])
        self.end()

    def end(self) -> None:
        """Let the grace period pass."""
        for _ in range(2):
            self.now += GRACE_SECONDS
            self.line.end_runs(self.now, time.time())

    def rows(self, table: str, columns: str = "*") -> list[Any]:
        """Return what is committed in a table."""
        with self.database.reading() as connection:
            return connection.execute(f"SELECT {columns} FROM {table}").fetchall()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Build a line over an empty home."""
    tmp_path.joinpath("spool").mkdir()
    built = House(tmp_path)
    with contextlib.closing(built.database):
        yield built


def test_who_comes_back_to_a_run_does_not_wait_for_all_that_was_there_before(house: House) -> None:
    """It is loaded when it is new, and never again."""
    for number in range(5):
        house.visit(f"w{number}")

    assert house.run_logs.loads == 1
    assert house.rows("run", "status, position, revision") == [("SUCCESS", 5, 10)]


def test_a_run_that_was_kept_is_as_one_that_was_loaded(house: House, tmp_path: Path) -> None:
    """After it failed, after it ended well, and after somebody was late."""
    tmp_path.joinpath("other", "spool").mkdir(parents=True)
    loading = House(tmp_path / "other")
    tables = ("run", "task", "attempt", "writer", "series")
    for one in (house, loading):
        for number in range(4):
            one.visit(f"w{number}", fails=number % 2 == 0)
            if one is loading:
                one.restart()
    seen = [[_timeless(one.rows(table)) for table in tables] for one in (house, loading)]
    loading.database.close()

    assert seen[0] == seen[1]


def test_what_could_not_be_committed_is_not_kept(house: House) -> None:
    """The run is as the store has it, and the lines count once."""
    house.visit("w0")
    append(house.home, "r", Scribe("w1").track(loss=1.0))
    house.database._writer.execute("PRAGMA query_only = ON")

    with pytest.raises(StoreError, match="readonly"):
        house.line.run(["r"])
    house.database._writer.execute("PRAGMA query_only = OFF")
    house.line.run(["r"])

    assert house.rows("observation", "position, value") == [(1, 0.5), (2, 1.0)]
    assert house.rows("run", "repeated, position") == [(0, 2)]


def test_those_that_ended_first_go_first() -> None:
    """As soon as there is no room for all, and one that is too large at once."""
    runs: RecentRuns[str] = RecentRuns()
    runs.keep("a", "A", MOST_BYTES // 3)
    runs.keep("b", "B", MOST_BYTES // 3)
    runs.keep("a", "A again", MOST_BYTES // 3)
    runs.keep("c", "C", MOST_BYTES // 3)
    found = [runs.take(run_id) for run_id in ("a", "b", "c", "c")]
    runs.keep("d", "D", MOST_BYTES)

    assert found == ["A again", None, "C", None]
    assert runs.take("d") is None


def _timeless(rows: list[Any]) -> list[Any]:
    """Leave times out, which rise from line to line."""
    return [[x for x in row if not (isinstance(x, int) and x > 10**15)] for row in rows]
