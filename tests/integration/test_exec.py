"""`steplog exec`: the run, the task, the signals and the exit status of a command."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from steplog.events import End, Join, Leave, Start
from tests.commands import STEPLOG
from tests.conftest import DEADLINE_SECONDS, events, spools, tracked, wait_until
from tests.daemon import configure, document, steplogd
from tests.execs import EXEC, kinds, run_exec, start_exec, values

if TYPE_CHECKING:
    from pathlib import Path


_SAY = "echo out; echo err >&2; exit 3"


def python(code: str) -> list[str]:
    """Return the words that run a Python program."""
    return ["--", sys.executable, "-c", code]


def test_a_command_is_an_attempt_of_a_task_in_a_run(home: Path) -> None:
    """The run and the task begin and end with it, and the run says what ran."""
    run_exec("--tag", "nightly", "--task", "my shell", "--", "true", "a b")

    (join,) = [event for event in events(home) if isinstance(event, Join)]
    (end,) = [event for event in events(home) if isinstance(event, End)]
    assert ["Open", "Join", "Start", "Catalog", "End", "Leave"] == kinds(home)
    assert ("nightly", ["true", "a b"]) == (join.tag, join.config["command"])
    assert ("my shell", "SUCCESS", "") == (end.task, end.status, end.message)


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [("exit 3", 3, "exit status 3"), ("kill -TERM $$", -15, "killed by SIGTERM")],
)
def test_a_failure_is_passed_on_and_fails_task_and_run(
    home: Path, code: str, status: int, message: str
) -> None:
    """Who started it sees what the command did, and so does the run log."""
    done = run_exec("--", "sh", "-c", code)

    ends = [event for event in events(home) if isinstance(event, (End, Leave))]
    assert status == done.returncode
    assert [("FAIL", message)] * 2 == [(end.status, end.message) for end in ends]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGQUIT", "SIGSEGV", "SIGPIPE", "SIGHUP"])
def test_exec_ends_by_the_signal_that_ended_the_command(home: Path, name: str) -> None:
    """Whatever the signal; a shell sees 128 and its number, and no second core is dumped."""
    number = signal.Signals[name]
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    done = run_exec("--", "sh", "-c", f"kill -{int(number)} $$")

    assert -number == done.returncode
    assert limit == resource.getrlimit(resource.RLIMIT_CORE)


def test_a_made_up_run_id_is_said_in_one_line(home: Path) -> None:
    """So that the run can be found again; one that was given is not repeated."""
    done = subprocess.run([*STEPLOG, "exec", "--", "true"], capture_output=True, check=True)
    (run_id,) = spools(home)

    assert f"steplog: the run is {run_id}\n".encode() == done.stderr
    assert b"" == run_exec("--", "true").stderr


@pytest.mark.parametrize("name", ["STEPLOG_RUN_ID", "RUNNABLE_RUN_ID"])
def test_the_run_comes_from_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Where it is not given; the task does, too."""
    monkeypatch.setenv(name, "r")
    monkeypatch.setenv("STEPLOG_TASK", "fit")
    subprocess.run([*STEPLOG, "exec", "--", "true"], check=True)

    (start,) = [event for event in events(home, "r") if isinstance(event, Start)]
    assert "fit" == start.task


def test_a_python_program_tracks_into_the_same_attempt(home: Path) -> None:
    """`track_this` needs to be told nothing, and starts no further attempt."""
    run_exec("--task", "fit", *python("import steplog; steplog.track_this(step=2, loss=0.5)"))
    steplogd("drain", "--config", configure(home))

    step = document(home, "r")["steps"]["fit"]
    assert [1] == [attempt["attempt_number"] for attempt in step["attempts"]]
    assert {"loss": {"2": 0.5}} == step["user_defined_metrics"]
    assert ["fit.execution.log"] == [entry["name"] for entry in step["data_catalog"]]


def test_a_command_within_a_command_stands_below_it(home: Path) -> None:
    """Its own name follows that of the command that runs it, and so on."""
    inner = f'"{sys.executable}" -c "{STEPLOG[2]}" exec --task'
    program = f"{sys.executable} -c 'import steplog; steplog.track_this(deep=1)'"
    code = f'{inner} inner -- sh -c "{program}"; STEPLOG_TASK=own {inner} "" -- true'
    run_exec("--task", "outer", "--", "sh", "-c", code)

    starts = [event.task for event in events(home) if isinstance(event, Start)]
    assert ["outer", ("outer", "inner"), ("outer", "own")] == starts
    assert {"deep": 1} == values(home, "outer", "inner")


def test_a_command_of_another_run_stands_below_nothing(home: Path) -> None:
    """Nor does it take its task's name from the one that runs it."""
    run_exec("--task", "outer", "--", *STEPLOG, "exec", "--run-id", "other", "--", "true")

    (start,) = [event for event in events(home, "other") if isinstance(event, Start)]
    assert "main" == start.task


def test_a_visitor_in_a_nested_command_tracks_into_its_task(home: Path) -> None:
    """`steplog track` reads the same path as the SDK."""
    inner = [*STEPLOG, "exec", "--task", "inner", "--", *STEPLOG, "track", "a=1"]
    run_exec("--task", "outer", "--", *inner)

    assert {"a": 1} == values(home, "outer", "inner")


@pytest.mark.parametrize(
    ("words", "status"), [(["no-such-program"], 127), (["./none"], 127), (["/etc/passwd"], 126)]
)
def test_a_command_that_cannot_run_is_one_sentence(
    home: Path, words: list[str], status: int
) -> None:
    """With the status that a shell gives it, and the task fails with the sentence."""
    done = run_exec("--", *words)

    (end,) = [event for event in events(home) if isinstance(event, End)]
    assert status == done.returncode
    assert f"steplog: {end.message}\n".encode() == done.stderr
    assert "FAIL" == end.status


@pytest.mark.parametrize("arguments", [[], ["--"], ["--nonsense", "--", "true"], ["--task"]])
def test_a_wrong_call_is_one_sentence(home: Path, arguments: list[str]) -> None:
    """Nothing is run or written."""
    done = run_exec(*arguments)

    assert 2 == done.returncode
    assert 1 == done.stderr.count(b"\n")
    assert not home.exists()


def test_options_after_the_command_are_the_commands(home: Path) -> None:
    """`--` or not: from the first word on, nothing is ours."""
    done = run_exec("echo", "--task", "x", "--help", "--")

    assert b"--task x --help --\n" == done.stdout


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGQUIT"])
def test_a_signal_is_passed_on_to_the_command(home: Path, name: str) -> None:
    """Once; what the command makes of it is the command's business."""
    code = """
import signal, sys
got = []
signal.signal(signal.%s, lambda number, _: got.append(number))
print("ready", flush=True)
while not got: signal.pause()
print(signal.sigtimedwait([got[0]], 0.1))
sys.exit(9)"""
    with start_exec(*python(code % name)) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.send_signal(signal.Signals[name])

        assert b"None\n" == process.stdout.read()
        assert 9 == process.wait(DEADLINE_SECONDS)


def test_a_long_stop_is_no_signal(home: Path) -> None:
    """The command stops the process above it, for longer than that ever waits for anything."""
    done = run_exec("--", "sh", "-c", "kill -STOP $PPID; sleep 1.2; kill -CONT $PPID; exit 9")

    assert (9, b"") == (done.returncode, done.stderr.partition(b"\n")[2])


def test_the_command_sees_nothing_else_of_exec(home: Path, tmp_path: Path) -> None:
    """Folder, umask, signals, descriptors, and the environment but for what it is told."""
    code = (
        "import os, signal; print(os.getcwd(), os.umask(0), "
        "sorted(n for n in map(int, os.listdir('/proc/self/fd')) if n > 2)[:-1], "
        "signal.pthread_sigmask(signal.SIG_BLOCK, []), "
        "[n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN], "
        "sorted(n for n in open('/proc/self/environ').read().split(chr(0)) "
        "if not n.startswith(('STEPLOG_', 'BASH_ENV=', 'PATH='))))"
    )
    plain = [sys.executable, "-c", code]
    environment = {**os.environ, "LC_ALL": "", "LANG": "C", "ODD": "a\nb"}
    expected = subprocess.run(
        plain, cwd=tmp_path, env=environment, capture_output=True, check=True, umask=0o27
    )
    done = run_exec("--", *plain, cwd=tmp_path, env=environment, umask=0o27)

    assert expected.stdout == done.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_descriptors_cost_nothing(home: Path, closed: str) -> None:
    """The command runs, and its status is passed on."""
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", *EXEC, "--", "sh", "-c", f"{{ {_SAY}; }}"]
    done = subprocess.run(words, capture_output=True, check=False, timeout=DEADLINE_SECONDS)

    assert 3 == done.returncode
    assert b"Traceback" not in done.stderr


def test_children_that_nobody_waits_for_cost_nothing(home: Path) -> None:
    """Where whoever starts exec ignores their ends, exec waits for the command all the same."""
    words = ["sh", "-c", 'trap "" CHLD; exec "$@"', "sh", *EXEC, "--", "sh", "-c", "exit 3"]

    assert 3 == subprocess.run(words, check=False, timeout=DEADLINE_SECONDS).returncode


def test_stdin_is_the_commands(home: Path) -> None:
    """It reads what it would have read."""
    assert b"from outside" == run_exec("--", "cat", input=b"from outside").stdout


def test_a_home_that_cannot_be_costs_the_tracking_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command runs, its status is passed on, and there is a warning."""
    monkeypatch.setenv("STEPLOG_HOME", "/proc/nowhere")
    done = run_exec("--", "sh", "-c", "export STEPLOG_TRACK_a=1; echo on; exit 3")

    assert (3, b"on\n") == (done.returncode, done.stdout)
    assert b"not recorded" in done.stderr
    assert b"Traceback" not in done.stderr


def test_strict_starts_nothing_where_nothing_can_be_tracked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for it gets the error instead of the command."""
    monkeypatch.setenv("STEPLOG_HOME", "/proc/nowhere")
    monkeypatch.setenv("STEPLOG_STRICT", "1")
    done = run_exec("--", "echo", "on")

    assert (1, b"") == (done.returncode, done.stdout)
    assert 1 == done.stderr.count(b"\n")


def test_a_script_without_a_first_line_is_run_by_sh(home: Path, tmp_path: Path) -> None:
    """As every shell does."""
    script = tmp_path / "script"
    script.write_text('export STEPLOG_TRACK_a=1\necho "$0" "$@"\n')
    script.chmod(0o755)
    done = run_exec("--", str(script), "x y")

    assert f"{script} x y\n".encode() == done.stdout
    assert {"a": 1} == values(home)


def test_what_is_tracked_before_a_kill_of_exec_stays(home: Path) -> None:
    """What the shells have recorded is read while the command runs."""
    code = "sh -c 'export STEPLOG_TRACK_a=1'; exec sleep 60"
    with start_exec("--", "sh", "-c", code) as process:
        wait_until(lambda: (home / "spool" / "r.jsonl").exists() and bool(tracked(home, "r")))
        child = f"/proc/{process.pid}/task/{process.pid}/children"
        with open(child) as file:  # noqa: PTH123
            (pid,) = map(int, file.read().split())
        process.kill()
        os.kill(pid, signal.SIGKILL)

    assert {"a": 1} == values(home)
