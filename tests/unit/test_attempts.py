"""Attempts told apart: by `steplog show`, by `get_run_log`, in real run logs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import steplog
from steplog.cli import main
from steplog.cli.attempt_text import SHOWN, ranges
from steplog.run_log import read_run_log
from steplog.summaries import summarise
from tests.daemon import configure, steplogd
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from pathlib import Path


def fold(home: Path, *lines: bytes, run_id: str = "r") -> None:
    """Append to a spool, and let the daemon fold what is there."""
    append(home, run_id, *lines)
    assert steplogd("drain", "--config", configure(home)).returncode == 0


def retried(a: Scribe) -> list[bytes]:
    """Return the lines of a task that failed after two steps, and of its next attempt."""
    return [
        a.line("join"),
        a.line("start", task="train", parameters={"lr": 0.1}),
        a.track(1, loss=9.0, note="first"),
        a.track(2, loss=8.0),
        a.line("end", task="train", status="FAIL", message="no \x1b[31mdata"),
        a.line("start", task="train", parameters={"lr": 0.2}),
        a.track(1, loss=0.5),
        a.line("start", task=["train", "epoch"]),
        a.line("track", task=["train", "epoch"], values={"x": 1}),
        a.line("end", task=["train", "epoch"]),
        a.line("end", task="train"),
        a.line("start", task="eval"),
        a.track(0, task="eval", f1=0.75),
        a.line("end", task="eval"),
        a.line("leave"),
    ]


def test_an_attempt_shows_only_what_it_tracked(home: Path) -> None:
    """Attempts stand alone, a failed one too; together, the later value of a step counts."""
    fold(home, *retried(Scribe()))
    first, second, both = (
        read_run_log(home, "r", attempt)["steps"]["train"]["user_defined_metrics"]
        for attempt in (1, 2, None)
    )

    assert first == {"loss": {"1": 9.0, "2": 8.0}, "note": {"1": "first"}}
    assert second == {"loss": {"1": 0.5}}
    assert both == {"loss": {"1": 0.5, "2": 8.0}, "note": {"1": "first"}}


def test_the_document_of_an_attempt_lists_that_one_alone(home: Path) -> None:
    """With its own status, message and parameters; tasks without such an attempt are left out."""
    fold(home, *retried(Scribe()))
    first, second = (read_run_log(home, "r", number)["steps"] for number in (1, 2))

    (attempt,) = first["train"]["attempts"]
    assert (attempt["attempt_number"], attempt["status"]) == (1, "FAIL")
    assert (attempt["message"], attempt["parameters"]) == ("no \x1b[31mdata", {"lr": 0.1})
    assert (list(first), list(first["train"]["branches"])) == (
        ["train", "eval", "success"],
        ["train.epoch"],
    )
    assert (list(second), second["train"]["branches"]) == (["train", "success"], {})


def test_an_attempt_changes_no_key_of_the_document(home: Path) -> None:
    """Whoever reads the one reads the other."""
    fold(home, *retried(Scribe()))
    whole, part = read_run_log(home, "r"), read_run_log(home, "r", 1)

    assert list(whole) == list(part)
    assert list(whole["steps"]["train"]) == list(part["steps"]["train"])


def test_a_task_within_one_that_has_no_such_attempt_is_shown(home: Path) -> None:
    """It stands as a branch of a step log that is bare otherwise."""
    a = Scribe()
    fold(
        home,
        a.line("join"),
        a.line("start", task="train"),
        a.track(task="train", outer=1),
        *(a.line(kind, task=["train", "epoch"]) for kind in ("start", "end") * 2),
        a.line("end", task="train"),
        a.line("leave"),
    )
    train = read_run_log(home, "r", 2)["steps"]["train"]

    assert (train["attempts"], train["user_defined_metrics"]) == ([], {})
    assert list(train["branches"]) == ["train.epoch"]


def test_get_run_log_and_show_give_the_same_document(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In Python as in a shell."""
    fold(home, *retried(Scribe()))
    assert main(["show", "r", "--attempt", "1", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == steplog.get_run_log("r", attempt=1)


@pytest.mark.parametrize("attempt", [0, -1, 3, 2**70])
def test_an_attempt_that_no_task_has_is_an_error(home: Path, attempt: int) -> None:
    """It says which there are, rather than giving a document without tasks."""
    fold(home, *retried(Scribe()))

    with pytest.raises(steplog.AttemptNotFound, match="from 1 to 2"):
        steplog.get_run_log("r", attempt=attempt)


def test_a_run_of_visitors_has_no_attempts(home: Path, capsys: Any) -> None:
    """What they tracked belongs to none, and the sentence says so."""
    fold(home, line("track", values={"x": 1}))

    assert main(["show", "r", "--attempt", "1"]) == 1
    err = capsys.readouterr().err
    assert (err.count("\n"), "no task of run r has attempts" in err) == (1, True)


def test_show_lists_the_attempts_and_which_tracked_what(home: Path, capsys: Any) -> None:
    """Number, status, duration and message of each, and a column that says where a key is from."""
    visitor = line("track", task="train", values={"seen": 1})
    fold(home, visitor, *retried(Scribe()))
    assert main(["show", "r"]) == 0

    out = capsys.readouterr().out.splitlines()
    train = out.index("task train  SUCCESS, 2 attempts")
    lines = [line.split() for line in out[train + 1 : train + 9]]
    assert lines[0] == ["ATTEMPT", "STATUS", "STARTED", "DURATION", "MESSAGE"]
    assert [lines[1][:2], lines[2][:2]] == [["1", "FAIL"], ["2", "SUCCESS"]]
    assert lines[1][-2:] == ["no", "\\x1b[31mdata"]
    assert lines[4:] == [
        ["KEY", "COUNT", "LAST", "STEP", "LAST", "VALUE", "MIN", "MAX", "ATTEMPTS"],
        ["seen", "1", "0", "1", "1", "1", "-"],
        ["loss", "3", "1", "0.5", "0.5", "8", "1-2"],
        ["note", "1", "1", '"first"', "-", "-", "1"],
    ]


def test_show_of_an_attempt_summarises_it_alone(home: Path, capsys: Any) -> None:
    """Its series, and its line in the table of attempts; other tasks' attempts of that number."""
    fold(home, *retried(Scribe()))
    assert main(["show", "r", "--attempt", "2"]) == 0

    out = capsys.readouterr().out
    assert "no \\x1b[31mdata" not in out
    assert "note" not in out
    assert "task eval" not in out
    assert ["loss", "1", "1", "0.5", "0.5", "0.5"] in [line.split() for line in out.splitlines()]


def test_a_task_of_many_attempts_shows_the_latest(home: Path, capsys: Any) -> None:
    """A task that is entered for each batch does not fill the screen."""
    a = Scribe()
    entered = (a.line(kind, task="batch") for kind in ("start", "end") * 1000)
    fold(home, a.line("join"), *entered, a.line("leave"))
    assert main(["show", "r"]) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    numbers = [found[0] for found in lines[lines.index([]) + 3 :]]
    assert numbers == [f"1-{1000 - SHOWN}", *map(str, range(1001 - SHOWN, 1001))]


def test_what_a_later_attempt_tracked_again_is_out_of_the_range(home: Path) -> None:
    """Minimum and maximum are of the values that the run log shows, and steps count once."""
    fold(home, *retried(Scribe()))

    loss = summarise(home, "r").tasks[0].series[0]
    assert (loss.count, loss.steps, loss.minimum, loss.maximum) == (3, 2, 0.5, 8.0)
    assert (loss.attempts, loss.last_value) == ([1, 2], 0.5)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1], "1"),
        ([1, 2, 3, 7], "1-3, 7"),
        ([0], "-"),
        ([0, 1, 2], "-, 1-2"),
        (range(1, 10**6), "1-999999"),
    ],
)
def test_numbers_are_drawn_together(numbers: list[int], expected: str) -> None:
    """Neighbours are a range, and no attempt is a dash."""
    assert ranges(numbers) == expected


def test_scattered_attempts_do_not_fill_the_line() -> None:
    """What does not fit is cut off, and shown to be."""
    shown = ranges(range(1, 1000, 2))

    assert (len(shown), shown[:10], shown[-1]) == (40, "1, 3, 5, 7", "…")
