"""The commands of `steplogd`: what they print, and how they exit."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import DEADLINE_SECONDS, run_program, wait_until
from tests.daemon import configure, document, rows, serving, steplogd
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from collections.abc import Iterator


COMMANDS = ["run", "drain", "status", "check"]
VALUE = line("track", values={"x": 1})


@contextlib.contextmanager
def training() -> Iterator[None]:
    """Track as fast as it goes, in a process of its own, until the block ends."""
    code = "import steplog\nwhile True: steplog.track_this(loss=0.5)"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    """That can be typed as it stands."""
    shown = steplogd(command, "--help")

    assert shown.returncode == 0
    assert f"example: steplogd {command}" in shown.stdout


def test_help_of_all_shows_an_example() -> None:
    """And so does the version."""
    assert "example: steplogd run" in steplogd("--help").stdout
    assert steplogd("--version").stdout.startswith("steplogd ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["zzz"],
        ["run", "extra"],
        ["drain", "--timeout", "soon"],
        ["drain", "--timeout", "-1"],
        ["drain", "--timeout", "nan"],
    ],
)
def test_bad_arguments_are_told_without_a_traceback(arguments: list[str]) -> None:
    """In one sentence, that says where there is help."""
    told = steplogd(*arguments)

    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert told.stderr.startswith("steplogd")
    assert "; see `steplogd" in told.stderr
    assert "_seconds" not in told.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_configuration_is_one_sentence(home: Path, command: str) -> None:
    """And exit status 78, after which systemd does not start it again."""
    told = steplogd(command, "--config", configure(home, "zzz = 1"))

    assert told.returncode == 78
    assert told.stderr.count("\n") == 1
    assert "there is no key 'zzz'" in told.stderr
    assert not home.exists()


def test_check_says_what_it_read(home: Path) -> None:
    """The file, the home, and where it delivers to."""
    path = configure(home, '[[backend]]\ntype = "memory"')

    told = steplogd("check", "--config", path)

    assert told.returncode == 0
    assert told.stdout == f"{path}: ok; home {home}; delivers to memory\n"


@pytest.mark.parametrize("command", ["run", "drain", "status"])
def test_a_home_that_is_a_file_is_one_sentence(home: Path, command: str) -> None:
    """It names the path."""
    home.write_text("")

    told = steplogd(command)

    assert told.returncode == 78
    assert told.stderr == f"steplogd: The home {home} cannot be made: {home} is no folder.\n"


@pytest.mark.parametrize("command", ["status", "verify", "dead-letters"])
def test_a_broken_store_is_one_sentence(home: Path, command: str) -> None:
    """That says what to do."""
    home.mkdir()
    (home / "steplog.db").write_bytes(b"garbage" * 1000)

    told = steplogd(command)

    assert told.returncode == 1
    assert "start `steplogd run`, or `steplogd drain`" in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr


def test_a_backend_that_cannot_be_built_is_one_sentence(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the home is free again."""
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "broken-1.dist-info" / "METADATA").write_text("Name: broken\nVersion: 1\n")
    (tmp_path / "broken-1.dist-info" / "entry_points.txt").write_text(
        "[steplog.backends]\nbroken = broken:Broken\n"
    )
    (tmp_path / "broken.py").write_text(
        "import msgspec\n"
        "class Broken:\n"
        "    package = extra = ''\n"
        "    class Options(msgspec.Struct): ...\n"
        "    def __init__(self, options, home): raise RuntimeError('no token')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = configure(home, '[[backend]]\ntype = "broken"')

    told = steplogd("drain", "--config", path)

    assert told.returncode == 78
    assert told.stderr.splitlines()[-1] == "steplogd: Backend 'broken' cannot be built: no token."
    assert "Traceback" not in told.stderr
    assert steplogd("drain").returncode == 0


def test_a_missing_extra_says_what_brings_it() -> None:
    """The plain package has the SDK alone."""
    told = run_program("""
        import sys
        sys.modules["anyio"] = None
        from steplogd.__main__ import main
        main(["run"])
    """)

    assert told.returncode == 1
    assert told.stderr == "steplogd: needs the package anyio: pip install 'steplog[daemon]'\n"


def test_output_that_nobody_reads_is_no_error(home: Path) -> None:
    """A pipe into `head`, say."""
    told = run_program("""
        import os, sys
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
        from steplogd.__main__ import main
        main(["check"])
    """)

    assert home
    assert "Traceback" not in told.stderr


def test_the_second_daemon_says_who_holds_the_home(home: Path) -> None:
    """And exits with 73; `status` says it as well."""
    with serving(home) as first:
        told = steplogd("run")
        status = json.loads(steplogd("status", "--json").stdout)

    assert told.returncode == 73
    assert f"process id {first.pid}" in told.stderr
    assert status["pid"] == first.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_serves_until_told_to_stop(home: Path, number: int) -> None:
    """And then exits with 0."""
    append(home, "r", Scribe().track())

    with serving(home) as process:
        wait_until(lambda: rows(home, "SELECT position FROM run") == [(1,)])
        process.send_signal(number)
        status = process.wait(DEADLINE_SECONDS)

    assert status == 0


def test_drain_folds_and_ends_and_sends_all_that_is_there(home: Path) -> None:
    """Then it exits with 0."""
    a = Scribe()
    append(home, "over", a.line("join"), a.track(loss=0.5), a.line("leave"))
    append(home, "visited", VALUE)
    append(home, "garbage", b"garbage\n")
    path = configure(home, '[[backend]]\ntype = "memory"')

    told = steplogd("drain", "--json", "--config", path)

    left = json.loads(told.stdout)
    assert told.returncode == 0
    assert (left["done"], left["spool_bytes"], left["backends"][0]["runs"]) == (True, 0, 0)
    assert document(home, "over")["steps"]["train"]["user_defined_metrics"] == {"loss": 0.5}


def test_drain_waits_for_the_daemon_that_serves_the_home(home: Path) -> None:
    """Until that has folded, ended and sent what is there; also beside a torn tail."""
    a = Scribe()
    path = configure(home, '[[backend]]\ntype = "memory"')
    with serving(home, "--config", str(path)):
        append(home, "over", a.line("join"), a.track(loss=0.5), a.line("leave"), b'{"t":"tra')

        told = steplogd("drain", "--json", "--config", path)

    left = json.loads(told.stdout)
    assert told.returncode == 0
    assert (left["done"], left["backends"][0]["runs"]) == (True, 0)
    assert rows(home, "SELECT status FROM run") == [("SUCCESS",)]


def test_drain_gives_up_on_a_daemon_that_is_behind(home: Path) -> None:
    """With 75, when its time is up."""
    path = configure(home, '[[backend]]\ntype = "mlflow"\nserver_url = "http://127.0.0.1:9"')
    with serving(home, "--config", str(path)):
        append(home, "r", VALUE)

        told = steplogd("drain", "--timeout", "2", "--config", path)

    assert told.returncode == 75
    assert "mlflow is still behind by 1 observation of 1 run" in told.stderr


def test_drain_says_what_is_left(home: Path) -> None:
    """With 75, when its time is up or a spool cannot be folded."""
    path = append(home, "shrunk", VALUE * 2)
    steplogd("drain")
    path.write_bytes(VALUE)
    path.unlink()
    append(home, "r", VALUE)

    told = steplogd("drain", "--timeout", "0")

    assert told.returncode == 75
    assert f"{len(VALUE)} bytes of spools are not folded yet" in told.stderr


def test_drain_does_not_wait_for_a_training_that_goes_on(home: Path) -> None:
    """What comes later is for later; the run stays open."""
    with training():
        wait_until(lambda: bool(list(home.glob("spool/*.jsonl"))))

        told = steplogd("drain", "--json")

    assert told.returncode == 0
    assert rows(home, "SELECT status FROM run") == [("PROCESSING",)]


def test_status_tells_how_things_are(home: Path) -> None:
    """Without a daemon too; nothing is folded for it."""
    append(home, "r", VALUE, b"torn\n", line("lost", count=3))
    steplogd("drain")
    append(home, "r", VALUE)
    path = configure(home, '[[backend]]\ntype = "memory"')

    status = json.loads(steplogd("status", "--json", "--config", path).stdout)
    shown = steplogd("status", "--config", path).stdout

    assert status == {
        "home": str(home),
        "pid": None,
        "spool_bytes": len(VALUE),
        "unreadable": 0,
        "runs": {"PROCESSING": 1},
        "set_aside": 1,
        "set_aside_runs": ["r"],
        "read_anew": [],
        "lost": 3,
        "backends": [
            {
                "backend": "memory",
                "runs": 1,
                "observations": 1,
                "dead_letters": 0,
                "failing_since": None,
                "error": "",
            }
        ],
    }
    assert "memory" in shown
    assert "1 PROCESSING" in shown
    assert "steplog show r --set-aside" in shown


def test_a_locked_store_is_one_sentence(home: Path) -> None:
    """It passes by itself: nothing is to be moved away."""
    steplogd("drain")
    connection = sqlite3.connect(home / "steplog.db", isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")

    told = steplogd("status")
    connection.close()

    assert told.returncode == 75
    assert "locked" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_daemon_that_is_killed_leaves_the_home_to_the_next(home: Path) -> None:
    """The kernel frees its lock."""
    with serving(home) as process:
        process.kill()
        process.wait(DEADLINE_SECONDS)
        status = json.loads(steplogd("status", "--json").stdout)

    assert status["pid"] is None
    assert steplogd("drain").returncode == 0


def test_status_counts_no_torn_tail(home: Path) -> None:
    """A line that is still being written is nothing to fold, as drain says too."""
    append(home, "r", Scribe().track(), b'{"t":"track","val')
    steplogd("drain")

    assert json.loads(steplogd("status", "--json").stdout)["spool_bytes"] == 0


def test_a_daemon_outlives_a_log_that_cannot_be_written(home: Path) -> None:
    """The disk of its log is full, say: it folds all the same, and ends well."""
    append(home, "r", line("track", values={"x": 1}))

    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "steplogd", "run", "--config", configure(home)]
        daemon = subprocess.Popen(command, stderr=full)
    wait_until(lambda: rows(home, "SELECT 1 FROM observation") != [])
    daemon.terminate()

    assert daemon.wait(DEADLINE_SECONDS) == 0
