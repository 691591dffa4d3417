"""The parts of `steplog exec` that need no command: names, texts, listings, and calls."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import steplog
from steplog.events import MAX_LINE_BYTES
from steplog.execution.exports import Exports, is_tracked
from steplog.execution.log import log_name
from steplog.execution.quoting import exported
from steplog.execution.sink import Sink
from steplog.task_text import path_of, text_of
from tests.conftest import run_program, tracked

if TYPE_CHECKING:
    from pathlib import Path

ODD = ["", "a b", "'", '"', "$x `y`", "\\", "\\n", "a\nb\n", "\t\r\x01\x7f", "é", "=", "#", "!\\'"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("train", ("train",)),
        ('["a","b c"]', ("a", "b c")),
        ('["[1]"]', ("[1]",)),
        ("[]", ("[]",)),
        ("[1]", ("[1]",)),
        ('["a", 1]', ('["a", 1]',)),
        ("[a", ("[a",)),
        ("[" * 100_000, ("[" * 100_000,)),
        ('{"a": 1}', ('{"a": 1}',)),
        (' ["a"]', (' ["a"]',)),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_text_is_a_path_or_one_name(text: str, path: tuple[str, ...]) -> None:
    """An array of texts, at least one, is a path; everything else is a name."""
    assert path == path_of(text)


@pytest.mark.parametrize("path", [("a",), ("a", "b"), ('["a"]',), ("[1]", "é"), ("\udcff", "x")])
def test_every_path_has_a_text(path: tuple[str, ...]) -> None:
    """Also one whose only name reads like a path."""
    assert path == path_of(text_of(path))


def test_the_environment_may_name_a_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process tracks then stands below the outer task."""
    monkeypatch.setenv("STEPLOG_TASK", '["outer", "inner"]')
    with steplog.start_run("r"):
        steplog.track_this(a=1)

    assert [("outer", "inner")] == [event.task for event in tracked(home)]


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_what_a_shell_lists_is_read_back(shell: str, value: str) -> None:
    """Whatever is in a value, and among other variables."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    environment = {"A": "1", "STEPLOG_TRACK_x": value, "Z": "export B='2'\nexport C='3'"}
    listing = subprocess.run(
        [shell, "-c", "export -p"], env=environment, capture_output=True, check=True
    ).stdout

    assert value.encode() == dict(exported(listing))[b"STEPLOG_TRACK_x"]
    assert environment["Z"].encode() == dict(exported(listing))[b"Z"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("my shell",), "my_shell"),
        (("a", "b c"), "a.b_c"),
        (("train/é",), "train%2Fé"),
        (("100%",), "100%25"),
        ((".hidden",), "%2Ehidden"),
        (("..",), "%2E."),
        (("a\nb\x00",), "a%0Ab%00"),
    ],
)
def test_a_log_is_named_after_its_task(path: tuple[str, ...], name: str) -> None:
    """With `_` for spaces, and written out what no file name should have."""
    assert f"{name}.execution.log" == log_name(path)


def test_a_long_name_is_cut_and_still_told_apart() -> None:
    """A file name has 255 bytes."""
    names = {log_name(("é" * 200 + end,)) for end in "ab"}

    assert 2 == len(names)
    assert all(len(os.fsencode(name)) <= 255 for name in names)


def _track(*variables: tuple[str, str]) -> None:
    with steplog.start_run("r") as run:
        Exports(run.outermost).track((name.encode(), value.encode()) for name, value in variables)


@pytest.mark.parametrize(
    ("name", "key", "step"),
    [
        ("STEPLOG_TRACK_a", "a", 0),
        ("MAGNUS_TRACK_Loss_STEP_7", "Loss", 7),
        ("runnable_TRACK_a_STEP_-3", "a", -3),
        ("RUNNABLE_TRACK_a_STEP_1_STEP_2", "a_STEP_1", 2),
        ("STEPLOG_TRACK__STEP_2", "_STEP_2", 0),
        ("STEPLOG_TRACK_a_STEP_", "a_STEP_", 0),
        ("STEPLOG_TRACK_a_step_2", "a_step_2", 0),
        ("STEPLOG_TRACK_a_STEP_007", "a", 7),
        ("STEPLOG_TRACK_a_STEP_12345678901234567890", "a_STEP_12345678901234567890", 0),
    ],
)
def test_a_name_has_a_key_and_a_step(home: Path, name: str, key: str, step: int) -> None:
    """A suffix that is no step belongs to the key."""
    _track((name, "x"))

    assert [(step, {key: "x"})] == [(event.step, event.values) for event in tracked(home)]


@pytest.mark.parametrize("name", ["STEPLOG_TRACK_", "steplog_TRACK_a", "XSTEPLOG_TRACK_a", "PATH"])
def test_other_names_are_not_tracked(name: str) -> None:
    """Nor taken from the command's environment."""
    assert not is_tracked(name.encode())


def test_the_later_value_of_a_key_and_step_counts(home: Path) -> None:
    """One that says the same again is no further line."""
    with steplog.start_run("r") as run:
        exports = Exports(run.outermost)
        for value in (b"1", b"1", b"2", b"1"):
            exports.track([(b"STEPLOG_TRACK_a", value)])

    assert [{"a": 1}, {"a": 2}, {"a": 1}] == [event.values for event in tracked(home)]


def test_what_cannot_be_tracked_costs_itself_alone(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Too long a value, too large a step, too deep a list."""
    deep, deeper = "[" * 200 + "]" * 200, "[" * 100_000
    variables = {"a": "1", "long": "x" * MAX_LINE_BYTES, "deep": deep, "deeper": deeper, "b": "2"}
    variables |= {"c_STEP_9999999999999999999": "3"}
    _track(*((f"STEPLOG_TRACK_{key}", value) for key, value in variables.items()))

    found: dict[str, Any] = {}
    for event in tracked(home):
        found |= event.values
    assert {"a": 1, "deeper": deeper, "b": 2} == found
    assert 3 == len(caplog.records)


def test_the_sink_yields_what_was_appended_once() -> None:
    """Whole entries alone, in their order, listings among them."""
    sink = Sink()
    pid, fd, _ = sink.address.split()
    with open(f"/proc/{pid}/fd/{fd}", "ab", buffering=0) as file:  # noqa: PTH123
        file.write(b"A=1\0B=2\n3\0C=")
        first = list(sink.take())
        file.write(b"4\0\0export D='5'\n\0")
        second = list(sink.take())
    sink.close()

    assert [(b"A", b"1"), (b"B", b"2\n3")] == first
    assert [(b"C", b"4"), (b"D", b"5")] == second


def test_the_text_of_a_path_is_json_for_other_programs() -> None:
    """Any language can read it."""
    assert ["a", "b"] == json.loads(text_of(("a", "b")))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to start what another user may not end")
def test_a_signal_that_cannot_be_passed_on_is_told(home: Path) -> None:
    """As with sudo: the command goes on, and its status is returned all the same."""
    done = run_program(
        """
        import os, signal
        from steplog.execution.child import Child

        class Observer:
            def before_signal(self, number): os.close(end)
            def resize(self): pass
            def look(self): pass

        source, end = os.pipe()
        child = Child()
        child.start("/bin/sh", ["sh", "-c", "read line; exit 7"], os.environb, {0: source})
        os.setresuid(65534, 65534, 65534)
        os.kill(os.getpid(), signal.SIGWINCH)
        os.kill(os.getpid(), signal.SIGTERM)
        print(os.waitstatus_to_exitcode(child.wait(Observer())))
        """
    )

    assert done.stdout == "7\n"
    assert done.stderr.startswith("steplog: SIGTERM cannot be passed on to process ")
    assert done.stderr.count("\n") == 1
