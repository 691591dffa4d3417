"""Runs selected by tag, status and time: by `steplog ls`, in real run logs."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from steplog.cli import main
from steplog.cli.moments import since, until
from tests.daemon import configure, steplogd
from tests.lines import append, line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOON = 1_704_801_600_000_000  # 2024-01-09 12:00
HOUR = 3_600_000_000
DAY = 24 * HOUR


def ran(home: Path, run_id: str, ts: int, tag: str = "", status: str | None = "SUCCESS") -> None:
    """Append what a process that was in a run leaves behind; without a status, killed."""
    lines = [line("join", w=run_id, n=0, ts=ts, tag=tag)]
    if status is not None:
        lines.append(line("leave", w=run_id, n=1, ts=ts + 5_000_000, status=status))
    append(home, run_id, *lines)


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home with five runs that the daemon has folded; nobody changes it."""
    home = tmp_path_factory.mktemp("folded") / "home"
    ran(home, "good", NOON, "nightly")
    ran(home, "bad", NOON + HOUR, "nightly", "FAIL")
    ran(home, "gone", NOON + 2 * HOUR, "weekly", None)
    ran(home, "late", NOON + 12 * HOUR)
    append(home, "open", line("track", ts=NOON + DAY, values={"x": 1}))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEPLOG_HOME", str(home))
        assert steplogd("drain", "--config", configure(home)).returncode == 0
    return home


@pytest.fixture
def runs(folded: Path, home: Path) -> Path:
    """Give the test those runs in a home of its own."""
    shutil.copytree(folded, home)
    return home


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return the ids that `steplog ls` lists."""
    assert main(["ls", "--json", *arguments]) == 0
    return [run["run_id"] for run in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["open", "late", "gone", "bad", "good"]),
        (["--status", "SUCCESS"], ["late", "good"]),
        (["--status", "fail"], ["gone", "bad"]),
        (["--status", "Killed"], ["gone"]),
        (["--status", "processing"], ["open"]),
        (["--status", "killed", "--status", "success"], ["late", "gone", "good"]),
        (["--tag", "nightly"], ["bad", "good"]),
        (["--tag", ""], ["open", "late"]),
        (["--tag", "nightly", "--status", "fail"], ["bad"]),
        (["--tag", "\udcff"], []),
        (["--since", "2024-01-09T13:00"], ["open", "late", "gone", "bad"]),
        (["--until", "2024-01-09T13:00"], ["good"]),
        (["--since", "2024-01-09", "--until", "2024-01-09"], ["gone", "bad", "good"]),
        (["--since", "2024-01-09T16:00+02:00", "--until", "2024-01-10"], ["open", "late", "gone"]),
        (["--since", "2024-01-09 12:00:00.000001", "--until", "2024-01-09T14:00Z"], ["bad"]),
        (["--since", "1d"], []),
        (["--until", "90m"], ["open", "late", "gone", "bad", "good"]),
        (["--since", "999999999w"], ["open", "late", "gone", "bad", "good"]),
        (["--limit", "2"], ["open", "late"]),
        (["--limit", "0"], []),
        (["--limit", str(2**63 - 1), "--tag", "weekly"], ["gone"]),
        (["--status", "fail", "--limit", "1"], ["gone"]),
    ],
)
def test_runs_are_selected(
    runs: Path, arguments: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By all that is asked for together, the newest first."""
    assert listed(capsys, *arguments) == expected


def test_runs_that_are_not_folded_yet_go_by_their_spool(runs: Path, capsys: Any) -> None:
    """A time selects by the last line, the limit counts them; a tag or status has none of them."""
    append(runs, "fresh", line("track", values={"x": 1}))
    os.utime(append(runs, "stale", line("track", values={"x": 1})), (NOON / 1e6, NOON / 1e6))

    assert listed(capsys, "--limit", "3") == ["fresh", "stale", "open"]
    assert listed(capsys, "--limit", "1") == ["fresh"]
    assert listed(capsys, "--since", "1h") == ["fresh"]
    assert listed(capsys, "--until", "2024-01-09T12:30") == ["stale", "good"]
    assert listed(capsys, "--status", "success") == ["late", "good"]
    assert listed(capsys, "--tag", "") == ["open", "late"]


def test_a_folded_run_that_is_not_selected_is_not_taken_for_a_new_one(
    runs: Path, capsys: Any
) -> None:
    """Its spool still lies there, and was appended to today."""
    assert listed(capsys, "--since", "1h") == []


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--status", "FIAL"], "did you mean FAIL?"),
        (["--status", "kiled"], "did you mean killed?"),
        (["--status", "sucess"], "did you mean SUCCESS?"),
        (["--status", "zzz\x1b"], "known are PROCESSING, SUCCESS, FAIL, killed"),
        (["--since", "yesterday"], "such as 12h"),
        (["--until", "2024-13-01"], "such as 12h"),
        (["--since", "-1h"], "such as 12h"),
        (["--since", "1h30m"], "such as 12h"),
        (["--since", "9" * 5000 + "h"], "such as 12h"),
        (["--since", "٣h"], "such as 12h"),
        (["--since", ""], "such as 12h"),
        (["--since", "2024-01-10", "--until", "2024-01-09"], "exchange the two"),
        (["--limit", "-1"], "negative"),
    ],
)
def test_a_wrong_filter_is_one_sentence(
    home: Path, arguments: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what would do, and lists nothing."""
    option, value, *rest = arguments
    assert main(["ls", f"{option}={value}", *rest]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err[:-1].isprintable()
    assert advice in captured.err


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("2024-01-09", NOON - 12 * HOUR, NOON + 12 * HOUR),
        ("2024-W02-2", NOON - 12 * HOUR, NOON + 12 * HOUR),
        ("2024-01-09T12:00", NOON, NOON),
        ("2024-01-09 12:00:00.000001", NOON + 1, NOON + 1),
        ("2024-01-09T12:00Z", NOON, NOON),
        ("2024-01-09T06:30-05:30", NOON, NOON),
        ("9999-12-31", 253_402_214_400_000_000, 253_402_300_800_000_000),
        ("0001-01-01T00:00+23:59", -62_135_683_140_000_000, -62_135_683_140_000_000),
    ],
)
def test_a_moment_is_utc_and_a_date_lasts_a_day(text: str, begins: int, ends: int) -> None:
    """Unless it carries an offset; to the microsecond, to the ends of the calendar."""
    assert (since(text), until(text)) == (begins, ends)


@pytest.mark.parametrize(
    ("text", "age"),
    [("30s", HOUR // 120), ("90m", HOUR * 3 // 2), ("12h", 12 * HOUR), ("7d", 7 * DAY)],
)
@pytest.mark.parametrize("take", [since, until])
def test_an_age_counts_back_from_now(take: Callable[[str], int], text: str, age: int) -> None:
    """In seconds, minutes, hours and days."""
    before = time.time_ns() // 1000
    found = take(text)

    assert before <= found + age <= time.time_ns() // 1000


def test_what_is_no_moment_raises_for_the_parser() -> None:
    """A stray byte in an argument, too."""
    with pytest.raises(argparse.ArgumentTypeError):
        since("\udcff")
