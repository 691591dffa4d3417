"""Runs side by side: by `steplog compare`, in real run logs."""

from __future__ import annotations

import fcntl
import json
import math
import os
import struct
import subprocess
import termios
from typing import TYPE_CHECKING, Any

import pytest

from steplog.cli import main
from steplog.comparison import is_same
from steplog.values import to_json
from tests.commands import STEPLOG
from tests.conftest import DEADLINE_SECONDS
from tests.daemon import configure, steplogd
from tests.lines import Scribe, append

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TS = 1_704_779_082_841_295


class _Run:
    """The spool of a run, written by hand."""

    def __init__(self, tag: str = "", task: Any = None, **parameters: Any) -> None:
        self.a = Scribe()
        plain = json.loads(to_json(parameters))
        self.lines = [self.a.line("join", tag=tag, parameters=plain)]
        if task is not None:
            self.lines.append(self.a.line("start", task="train", parameters=task))

    def track(self, step: int = 0, task: Any = "train", /, **values: Any) -> _Run:
        plain = json.loads(to_json(values))
        self.lines.append(self.a.line("track", task=task, step=step, values=plain))
        return self

    def ends(self, status: str = "SUCCESS") -> list[bytes]:
        return [*self.lines, self.a.line("leave", status=status)]


def fold(home: Path, **runs: _Run) -> None:
    """Write the spools, and let the daemon fold them."""
    for run_id, run in runs.items():
        append(home, run_id, *run.ends())
    assert steplogd("drain", "--config", configure(home)).returncode == 0


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return what `steplog compare --json` prints."""
    assert main(["compare", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def table(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return what `steplog compare` prints, without the durations."""
    assert main(["compare", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if not line[2:].startswith("duration")]


def test_runs_stand_side_by_side(home: Path, capsys: Any) -> None:
    """Parameters and figures by task, what differs marked; one figure of what has one step."""
    one = _Run("nightly", {"batch": 8}, lr=0.1, epochs=3)
    one.track(1, loss=0.5).track(2, loss=0.25).track(answer=42, note="warm")
    other = _Run("nightly", {"batch": 8}, lr=0.2, epochs=3)
    other.track(1, loss=0.5).track(2, loss=0.125).track(3, loss=0.75).track(answer=42)
    other.track(0, ["train", "eval"], f1=0.5)
    fold(home, one=one, other=other)

    assert table(capsys, "one", "other") == [
        "  run              one             other",
        "  status           SUCCESS         SUCCESS",
        "  tag              nightly         nightly",
        "",
        "parameters",
        "* lr               0.1             0.2",
        "  epochs           3               3",
        "",
        "parameters of task train",
        "  batch            8               8",
        "",
        "metrics of task train",
        "* loss      last   0.25            0.75",
        "* loss      min    0.25            0.125",
        "* loss      max    0.5             0.75",
        "* loss      steps  2               3",
        "  answer    last   42              42",
        '* note      last   "warm"          -',
        "",
        "metrics of task train.eval",
        "* f1        last   -               0.5",
    ]


def test_json_has_runs_parameters_and_metrics(home: Path, capsys: Any) -> None:
    """Each says whether it differs, and values stand by run id, where the run has one."""
    one = _Run("a", {"batch": 8}, lr=math.nan).track(1, loss=math.inf).track(2, loss=0.25)
    two = _Run("b", {}, lr=math.nan).track(0, ["train", "eval"], note="x")
    fold(home, one=one, two=two)
    found = compared(capsys, "one", "two")

    assert list(found) == ["runs", "parameters", "metrics"]
    shown = [(run["run_id"], run["status"], run["tag"], run["differs"]) for run in found["runs"]]
    assert shown == [("one", "SUCCESS", "a", False), ("two", "SUCCESS", "b", True)]
    assert found["parameters"] == [
        {"task": None, "name": "lr", "differs": False, "values": {"one": "NaN", "two": "NaN"}},
        {"task": "train", "name": "batch", "differs": True, "values": {"one": 8}},
    ]
    loss = {"last": 0.25, "min": 0.25, "max": 0.25, "steps": 2}
    note = {"last": "x", "min": None, "max": None, "steps": 1}
    assert found["metrics"] == [
        {"task": "train", "key": "loss", "differs": True, "values": {"one": loss}},
        {"task": "train.eval", "key": "note", "differs": True, "values": {"two": note}},
    ]


def test_differing_leaves_out_what_is_the_same(home: Path, capsys: Any) -> None:
    """From the object as from the table, but never a run; and it says that nothing is left."""
    fold(home, **{name: _Run(lr=0.1).track(loss=1) for name in ("one", "two")})
    found = compared(capsys, "one", "two", "--differing")

    assert (len(found["runs"]), found["parameters"], found["metrics"]) == (2, [], [])
    assert table(capsys, "one", "two", "--differing")[-1] == "no parameter and no metric differs"


def test_the_lines_of_what_is_the_same_are_left_out(home: Path, capsys: Any) -> None:
    """Those of a metric, too, that has others which differ."""
    one = _Run(lr=0.1, epochs=3).track(1, loss=0.5).track(2, loss=0.25).track(answer=42)
    two = _Run(lr=0.2, epochs=3).track(1, loss=0.5).track(2, loss=0.125).track(answer=42)
    fold(home, one=one, two=two)

    assert [line.split() for line in table(capsys, "one", "two", "--differing")[4:]] == [
        ["parameters"],
        ["*", "lr", "0.1", "0.2"],
        [],
        ["metrics", "of", "task", "train"],
        ["*", "loss", "last", "0.25", "0.125"],
        ["*", "loss", "min", "0.25", "0.125"],
    ]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (42, 42, True),
        (42, 42.0, False),
        (False, 0, False),
        ("42", 42, False),
        ("NaN", math.nan, False),
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (0.0, -0.0, True),
        (None, None, True),
        ([1, math.nan], [1, math.nan], True),
        ([1, 2], [2, 1], False),
        ([1], [1, 2], False),
        ([1], [1.0], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"b": True}}, {"a": {"b": 1}}, False),
        ("\ud800", "\ud800", True),
        (2**9000, 2**9000 + 1, False),
    ],
)
def test_the_same_is_of_the_same_type_and_equal(left: Any, right: Any, expected: bool) -> None:
    """Whichever stands first, and within lists and objects too."""
    assert (is_same(left, right), is_same(right, left)) == (expected, expected)


def test_what_differs_looks_different(home: Path, capsys: Any) -> None:
    """A type, a digit far behind the point, and the end of a long text are seen in the table."""
    near: dict[str, Any] = {
        "a": 0.12345678,
        "b": 42,
        "path": f"/{'d' * 100}/a/{'e' * 100}",
        "text": "x" * 60,
    }
    nearer: dict[str, Any] = {
        "a": 0.12345679,
        "b": 42.0,
        "path": f"/{'d' * 100}/b",
        "text": "x" * 60,
    }
    fold(home, one=_Run(**near), two=_Run(**nearer), three=_Run())

    assert [line.split() for line in table(capsys, "one", "two", "three")[5:]] == [
        ["*", "a", "0.12345678", "0.12345679", "-"],
        ["*", "b", "42", "42.0", "-"],
        ["*", "path", f"…{'d' * 7}/a/{'e' * 12}…", f'…{"d" * 7}/b"', "-"],
        ["*", "text", f'"{"x" * 22}…', f'"{"x" * 22}…', "-"],
    ]


def test_a_text_has_no_range_beside_numbers(home: Path, capsys: Any) -> None:
    """Nor has a run without the metric; null is a value that was tracked."""
    text = _Run().track(1, it="a").track(2, it=None)
    numbers = _Run().track(1, it=1).track(2, it=math.nan)
    fold(home, text=text, numbers=numbers, none=_Run())

    assert [line.split() for line in table(capsys, "text", "numbers", "none")[5:]] == [
        ["*", "it", "last", "null", "NaN", "-"],
        ["*", "it", "min", "-", "1", "-"],
        ["*", "it", "max", "-", "1", "-"],
        ["*", "it", "steps", "2", "2", "-"],
    ]


def test_metrics_of_a_task_stand_together(home: Path, capsys: Any) -> None:
    """Also those that only a later run has; a key in two tasks is two metrics."""
    fold(
        home,
        one=_Run().track(0, "train", a=1).track(0, "eval", a=2),
        two=_Run().track(0, "train", b=3).track(0, "eval", b=4),
    )
    found = compared(capsys, "one", "two")["metrics"]

    assert [(metric["task"], metric["key"]) for metric in found] == [
        ("train", "a"),
        ("train", "b"),
        ("eval", "a"),
        ("eval", "b"),
    ]


def test_a_killed_run_is_compared_like_any_other(home: Path, capsys: Any) -> None:
    """Its status says so, and is marked."""
    append(home, "gone", *_Run().track(loss=1).lines)
    fold(home, done=_Run().track(loss=1))

    assert table(capsys, "done", "gone")[1].split() == "* status SUCCESS FAIL (killed)".split()
    assert [run["differs"] for run in compared(capsys, "done", "gone")["runs"]] == [False, True]


def test_a_run_that_is_not_there_is_one_sentence(home: Path, capsys: Any) -> None:
    """It is named, and nothing of the others is printed."""
    fold(home, one=_Run())
    assert main(["compare", "one", "missing"]) == 1

    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "no run missing" in captured.err


def test_nothing_that_was_tracked_acts_on_the_terminal(home: Path, capsys: Any) -> None:
    """Tags, tasks, keys and values are written out, also where they are cut."""
    evil = "\x1b[2J\x9b\u202e"
    one = _Run(evil, **{evil: evil}).track(0, evil, **{evil: evil})
    two = _Run("b", **{evil: f"{evil}{'x' * 90}1"}).track(0, evil, **{evil: {evil: evil}})
    fold(home, one=one, two=two)

    lines = table(capsys, "one", "two")
    assert all(line.isprintable() for line in lines)
    assert sum("\\x1b[2J" in line for line in lines) == 4


def test_runs_that_do_not_fit_the_terminal_follow_below(home: Path) -> None:
    """No line is longer than the terminal, and every run has all of its lines, once."""
    names = [f"blazing-colden-{number:04}" for number in range(8)]
    fold(home, **{name: _Run(lr=0.1).track(loss=number) for number, name in enumerate(names)})
    lines = _on_a_terminal(80, *names, NO_COLOR="1")

    assert max(map(len, lines)) <= 80
    heads = [line.split()[1:] for line in lines if line.startswith("  run ")]
    assert heads == [names[:3], names[3:6], names[6:]]
    losses = [line.split()[3:] for line in lines if line.startswith("* loss ")]
    assert losses == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"]]


def test_a_terminal_that_is_too_narrow_shows_a_run_at_a_time(home: Path) -> None:
    """A line may then be longer; nothing is left out."""
    fold(home, one=_Run(lr="x" * 50), two=_Run(lr="y" * 50))

    heads = [line for line in _on_a_terminal(10, "one", "two") if "run" in line]
    assert [line.split() for line in heads] == [["run", "one"], ["run", "two"]]


def test_what_differs_is_coloured_only_on_a_terminal(home: Path, capsys: Any) -> None:
    """Beside the mark, never instead of it; not with NO_COLOR."""
    fold(home, one=_Run(lr=1), two=_Run(lr=2))

    assert any(line.startswith("\x1b[33m* lr") for line in _on_a_terminal(80, "one", "two"))
    assert "\x1b" not in "".join(_on_a_terminal(80, "one", "two", NO_COLOR="1"))
    assert "\x1b" not in "".join(table(capsys, "one", "two"))


def test_runs_of_very_many_steps_are_no_longer_to_show(home: Path, capsys: Any) -> None:
    """Ten thousand steps are one line for each figure, steps in any order and again."""

    def steps(run: _Run, count: int) -> Iterator[bytes]:
        yield from run.lines
        for number in range(count):
            yield run.a.track(-(number % (count // 2)), loss=number / 2)

    append(home, "long", *steps(_Run(), 10_000))
    append(home, "short", *steps(_Run(), 10))
    fold(home)

    assert compared(capsys, "long", "short")["metrics"][0]["values"] == {
        "long": {"last": 4999.5, "min": 2500.0, "max": 4999.5, "steps": 5000},
        "short": {"last": 4.5, "min": 2.5, "max": 4.5, "steps": 5},
    }


def _on_a_terminal(columns: int, *arguments: str, **environment: str) -> list[str]:
    """Return the lines that `steplog compare` prints on a terminal of so many columns."""
    master, terminal = os.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        usual = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        subprocess.run(
            [*STEPLOG, "compare", *arguments],
            stdout=terminal,
            check=True,
            timeout=DEADLINE_SECONDS,
            env={**usual, "TERM": "xterm", **environment},
        )
        return os.read(master, 100_000).decode().splitlines()
    finally:
        os.close(master)
        os.close(terminal)
