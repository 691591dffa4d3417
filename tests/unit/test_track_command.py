"""`steplog track`: which line it appends, and what a value on the command line stands for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from steplog.cli import main
from steplog.decoding import decode
from steplog.run import RUN_ID_VARIABLES
from steplog.value_text import parse_value

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    """Give each test a home of its own, which nothing has made yet."""
    return home


def lines_of(home: Path, run_id: str = "r") -> list[dict[str, Any]]:
    """Return what stands in a spool."""
    spool = home / "spool" / f"{run_id}.jsonl"
    return [json.loads(line) for line in spool.read_bytes().splitlines()]


def test_track_appends_one_line_of_a_visitor(home: Path) -> None:
    """Values by JSON's grammar, step and task; no writer id and no number."""
    argv = ["track", "--run-id", "r", "loss=0.25", "--step", "-3", "n=[1, 2]", "--task", "fit"]
    assert main(argv) == 0

    (line,) = lines_of(home)
    assert isinstance(line.pop("ts"), int)
    values = {"loss": 0.25, "n": [1, 2]}
    assert line == {"t": "track", "task": "fit", "step": -3, "values": values}
    assert (home / "spool" / "r.jsonl").read_bytes().startswith(b'{"t":"track",')


def test_track_does_not_join_the_run(home: Path) -> None:
    """A visitor's line is the only one, so that it neither starts nor ends the run."""
    assert main(["track", "--run-id", "r", "a=1"]) == 0
    assert main(["track", "--run-id", "r", "a=2"]) == 0

    assert [line["t"] for line in lines_of(home)] == ["track", "track"]


@pytest.mark.parametrize("name", RUN_ID_VARIABLES)
def test_track_takes_the_run_and_task_from_the_environment(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any of the variables names the run; `--run-id` and `--task` go before them."""
    monkeypatch.setenv(name, "r")
    monkeypatch.setenv("STEPLOG_TASK", "fit")
    assert main(["track", "a=1"]) == 0
    assert main(["track", "--run-id", "other", "--task", "eval", "a=1"]) == 0

    assert lines_of(home)[0]["task"] == "fit"
    assert lines_of(home, "other")[0]["task"] == "eval"


def test_track_needs_a_run_id_that_can_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run id from the environment is checked like any other."""
    monkeypatch.setenv("STEPLOG_RUN_ID", "../r")

    assert main(["track", "a=1"]) == 1
    assert "cannot be a run id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("42", 42),
        ("-0.5", -0.5),
        ("1e3", 1000.0),
        ("42.0", 42.0),
        ("9" * 5000, 10**5000 - 1),
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        ("[1, 2.0]", [1, 2.0]),
        ("", ""),
        ("true", "true"),
        ("True", "True"),
        ("null", "null"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("[NaN]", "[NaN]"),
        ("[1,", "[1,"),
        ("007", "007"),
        ("+1", "+1"),
        ("1_000", "1_000"),
        ("1.", "1."),
        (" 1", " 1"),
        ("0x10", "0x10"),
        ("٣", "٣"),
        ('"42"', '"42"'),
        ("a=b", "a=b"),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, str) else "",
)
def test_a_value_is_read_by_the_grammar_of_json(text: str, expected: Any) -> None:
    """Numbers, lists and objects are what JSON says they are; everything else is a text."""
    found = parse_value(text)

    assert found == expected
    assert type(found) is type(expected)


def test_any_value_comes_back_from_the_line(home: Path) -> None:
    """Escapes, huge integers, bytes that are no UTF-8, and text that reads like a line survive."""
    like_a_line = '{"t":"track","values":{}}'
    given = {"a": "\udcff\x1b", "b": "9" * 5000, "c": '{"$float":"NaN"}', "d": f"[{like_a_line}]"}
    assert main(["track", "--run-id", "r", *(f"{k}={v}" for k, v in given.items())]) == 0

    (event,) = decode((home / "spool" / "r.jsonl").read_bytes())
    expected = {"a": "\udcff\x1b", "b": 10**5000 - 1, "c": {"$float": "NaN"}}
    assert event.values == {**expected, "d": [{"t": "track", "values": {}}]}  # type: ignore[union-attr]
