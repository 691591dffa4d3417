"""`steplog ls` and `steplog show`, on a store that was filled by hand."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from steplog.cli import main
from tests.lines import append
from tests.stores import START, Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    """Give each test a home of its own, which nothing has made yet."""
    return home


def test_ls_lists_the_newest_run_first(folded: Store, home: Path, capsys: Any) -> None:
    """Runs in the run log by their start, and above them those that have a spool alone."""
    killed = {"status": "FAIL", "killed": 1, "tag": "\x1b[31m", "position": 1_234_567}
    folded.run("later", 2, **killed, start_ts=START + 1_000_000, end_ts=START + 3_723_000_000)
    folded.run("open", 3, status="PROCESSING", start_ts=START + 2_000_000, end_ts=None, position=3)
    os.utime(append(home, "fresh", b""), (2, 2))
    os.utime(append(home, "stale", b""), (1, 1))
    append(home, "done", b"")
    (home / "spool" / ".hidden.jsonl").touch()
    assert main(["ls"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "RUN    STATUS          TAG       STARTED (UTC)        DURATION  OBSERVATIONS",
        "fresh  not folded yet",
        "stale  not folded yet",
        "open   PROCESSING      -         2024-01-09 05:44:44  -         3",
        "later  FAIL (killed)   \\x1b[31m  2024-01-09 05:44:43  1:02:02   1,234,567",
        "done   SUCCESS         nightly   2024-01-09 05:44:42  1:02:03   3",
    ]


def test_ls_selects_by_tag_and_prints_json(folded: Store, home: Path, capsys: Any) -> None:
    """An array of objects, with NaN as text, for other programs."""
    folded.run("other", 2, parameters='{"lr":{"$float":"NaN"}}')
    append(home, "fresh", b"")
    assert main(["ls", "--tag", "nightly", "--json"]) == 0
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)] == ["done"]

    assert main(["ls", "--json"]) == 0
    fresh, other, done = json.loads(capsys.readouterr().out)
    assert (fresh["run_id"], fresh["status"]) == ("fresh", None)
    assert (other["run_id"], other["parameters"]) == ("other", {"lr": "NaN"})
    assert list(fresh) == list(done)
    assert done == {
        "run_id": "done",
        "status": "SUCCESS",
        "killed": False,
        "message": "",
        "tag": "nightly",
        "start_time": "2024-01-09 05:44:42.841295",
        "end_time": "2024-01-09 06:46:45.841295",
        "duration": "1:02:03",
        "observations": 3,
        "parameters": {},
    }


def test_ls_without_a_daemon_says_what_to_start(home: Path, capsys: Any) -> None:
    """What was tracked is listed all the same."""
    append(home, "fresh", b"")
    assert main(["ls"]) == 0

    captured = capsys.readouterr()
    assert captured.out.splitlines()[1] == "fresh  not folded yet"
    assert "start `steplogd run`" in captured.err


def test_show_summarises_a_run(folded: Store, capsys: Any) -> None:
    """Status, times, parameters, and a table of each task's series; safe for a terminal."""
    folded.connection.execute("""UPDATE run SET parameters = '{"lr":0.1}', lost = 2""")
    assert main(["show", "done"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "run           done",
        "status        SUCCESS",
        "tag           nightly",
        "started       2024-01-09 05:44:42.841295",
        "ended         2024-01-09 06:46:45.841295",
        "duration      1:02:03",
        "observations  3",
        "parameters    lr=0.1",
        "lost          2 calls that could not be recorded",
        "",
        "task train  SUCCESS, 2 attempts",
        "  ATTEMPT  STATUS   STARTED              DURATION        MESSAGE",
        "  1        SUCCESS  2024-01-09 05:44:42  0:00:00.008643",
        "  2        SUCCESS  2024-01-09 05:44:42  0:00:00.008643",
        "",
        "  KEY   COUNT  LAST STEP  LAST VALUE     MIN   MAX  ATTEMPTS",
        "  loss  2      2          0.25           0.25  0.5  1",
        '  note  1      0          "hot\\x1b[31m"  -     -    1',
    ]


def test_show_json_is_the_document(
    folded: Store, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same text that the daemon writes beside it."""
    from steplog.run_log import write_run_log

    pieces: list[str] = []
    write_run_log(home, "done", pieces.append)
    assert main(["show", "done", "--json"]) == 0

    out = capsys.readouterr().out
    assert out == "".join(pieces)
    metrics = json.loads(out)["steps"]["train"]["user_defined_metrics"]
    assert metrics == {"loss": {"1": 0.5, "2": 0.25}, "note": "hot\x1b[31m"}


def test_show_says_what_is_wrong_with_the_store(
    folded: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown run, and a store of another version, are sentences."""
    assert main(["show", "unknown"]) == 1
    assert "no run unknown" in capsys.readouterr().err

    folded.connection.execute("PRAGMA user_version = 7")
    assert main(["show", "done"]) == 1
    assert "version 7" in capsys.readouterr().err
