"""What holds of every `steplog` command, called in this process and as one of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from steplog.cli import COMMANDS, main
from tests.commands import STEPLOG, read_line, start
from tests.conftest import DEADLINE_SECONDS
from tests.lines import append

if TYPE_CHECKING:
    from tests.stores import Store


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    """Give each test a home of its own, which nothing has made yet."""
    return home


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command shows itself in use."""
    assert main([command, "--help"]) == 0

    assert f"example:\n  steplog {command}" in capsys.readouterr().out


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The command's own help lists all that there are."""
    assert main(["--help"]) == 0

    out = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` is a line of its own, with the command's name."""
    assert main(["--version"]) == 0

    assert capsys.readouterr().out.startswith("steplog ")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["--nonsense"],
        ["track"],
        ["track", "--run-id", "r", "novalue"],
        ["track", "--run-id", "r", "=1"],
        ["track", "--run-id", "r", "a=1", "a=2"],
        ["track", "--run-id", "../r", "a=1"],
        ["track", "--run-id", "r", "--step", "1.5", "a=1"],
        ["track", "--run-id", "r", "--step", str(2**63), "a=1"],
        ["track", "--run-id", "r", "a=" + "[" * 100_000],
        ["tail", "-n", "-1"],
        ["tail", ".hidden"],
        ["tail", "a\nb\x1b[31m"],
        ["show"],
        ["show", "a/b"],
        ["show", "r", "--attempt", "0"],
        ["compare"],
        ["compare", "r"],
        ["compare", "r", "s", "r"],
        ["compare", "r", "a/b"],
        ["ls", "surplus"],
    ],
)
def test_a_wrong_call_is_one_sentence_and_status_2(
    argv: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says where the help is, and nothing is written."""
    assert main(argv) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err[:-1].isprintable()
    assert "--help`" in captured.err
    assert not home.exists()


@pytest.mark.parametrize(
    ("argv", "advice"),
    [
        (["track", "a=1"], "STEPLOG_RUN_ID"),
        (["track", "--run-id", "r", "a=" + "x" * 300_000], "at most"),
        (["tail", "--no-follow"], "track something first"),
        (["tail", "r", "--no-follow"], "track something first"),
        (["show", "r"], "steplogd drain"),
        (["show", "r", "--json"], "steplogd drain"),
        (["compare", "r", "s"], "steplogd drain"),
    ],
)
def test_a_failure_is_one_sentence_and_status_1(
    argv: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what to do."""
    assert main(argv) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert advice in captured.err


@pytest.mark.parametrize(
    "argv", [["track", "--run-id", "r", "a=1"], ["ls"], ["show", "r"], ["tail"]]
)
def test_a_home_that_is_no_folder_is_one_sentence(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """An unusable home names the path, and never shows a traceback."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("STEPLOG_HOME", str(tmp_path / "file"))

    assert main(argv) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{tmp_path}/file" in err


def test_a_user_without_a_home_directory_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing says where things lie, the sentence names the variable to set."""

    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("steplog.cli.arguments.default_home", fail)

    assert main(["ls"]) == 1
    assert "set STEPLOG_HOME" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    """`steplog tail | head -1` ends like any command that SIGPIPE kills, and says nothing."""
    append(home, "r", b'{"t":"track","values":{"a":1}}\n' * 50_000)
    process = start("tail", "--no-follow", "-n", "50000")
    assert process.stdout is not None
    read_line(process.stdout)
    process.stdout.close()

    assert process.wait(DEADLINE_SECONDS) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_full_disk_behind_the_output_is_one_sentence(folded: Store) -> None:
    """What cannot be printed is said on stderr, once."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*STEPLOG, "ls"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=DEADLINE_SECONDS,
        )

    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


def test_characters_that_the_terminal_lacks_are_escaped(folded: Store) -> None:
    """A locale without UTF-8 costs no error, only an escape."""
    folded.connection.execute("UPDATE run SET tag = 'nächtlich'")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*STEPLOG, "ls"], capture_output=True, check=True, timeout=DEADLINE_SECONDS, env=environment
    )

    assert b"n\\xe4chtlich" in done.stdout
