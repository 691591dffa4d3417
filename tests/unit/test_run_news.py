"""What the log says of runs, each from its spool: once, and only of what is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from steplog.home import spool_folder
from steplogd.store.database import StoreError
from steplogd.store.run_logs import RunLogs
from tests.bench import line_over
from tests.lines import Scribe, append

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.folding.line import Line
    from steplogd.store.database import Database

_FAR_SECONDS = 1e9


@pytest.fixture
def line(tmp_path: Path, database: Database) -> Line:
    """Build a line over an empty home; a run ends at the second look after nobody is in it."""
    spool_folder(tmp_path).mkdir()
    return line_over(tmp_path, database)


def news(line: Line, now: float = 0.0) -> list[tuple[str, str]]:
    """Fold all that is there, end what is over, and return what was logged, and of which run."""
    with capture_logs() as said:
        while run_ids := line.spools.grown():
            line.run(run_ids)
        line.end_runs(now, _FAR_SECONDS)
    return [(told["event"], told.get("run", "")) for told in said]


def test_a_run_is_told_when_it_begins_and_when_it_ends(line: Line, tmp_path: Path) -> None:
    """Each once, however much comes between; there is no line for an event."""
    a = Scribe()
    append(tmp_path, "r", a.line("join"), *[a.track() for _ in range(100)])
    first = news(line)
    append(tmp_path, "r", *[a.track() for _ in range(100)])
    second = news(line)
    append(tmp_path, "r", a.line("leave"))
    third = news(line)

    assert (first, second, third) == ([("run begun", "r")], [], [])
    assert news(line, 10.0) == [("run ended", "r")]


def test_a_run_that_is_opened_again_goes_on(line: Line, tmp_path: Path) -> None:
    """And ends again; a visitor's late line is no news."""
    a, b = Scribe("a"), Scribe("b")
    append(tmp_path, "r", a.line("join"), a.line("leave"))
    news(line)
    news(line, 10.0)
    append(tmp_path, "r", b'{"t":"track","values":{"x":1}}\n')
    assert news(line, 20.0) == []
    append(tmp_path, "r", b.line("join"), b.line("leave"))
    opened = news(line, 30.0)

    assert opened == [("run goes on", "r")]
    assert news(line, 40.0) == [("run ended", "r")]


def test_what_was_not_committed_is_not_told(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor twice, when it is after all."""
    append(tmp_path, "r", Scribe().line("join"))
    with monkeypatch.context() as broken, capture_logs() as said:
        broken.setattr(RunLogs, "commit", _cannot)
        with pytest.raises(StoreError):
            line.run(["r"])

    assert said == []
    assert news(line) == [("run begun", "r")]


def _cannot(*_: object) -> None:
    raise StoreError("the disk is full")
