"""Code identity from end to end: a program in a real repository, its spool, and its run log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from steplog.events import Code, Join, Open
from tests.conftest import DEADLINE_SECONDS, events, is_gapless, numbers, run_program
from tests.daemon import steplogd
from tests.repositories import commit, git, head, make_repository, write

TRAIN = """
import os, sys, steplog
steplog.track_this(loss=0.5)
with steplog.task("train"):
    steplog.track_this(step=1, loss=0.25)
"""


@pytest.fixture
def repository(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with a training in it, and work there."""
    folder = make_repository(tmp_path / "repository")
    git(folder, "remote", "add", "origin", "https://user:token@example.org/a.git")
    write(folder / "train.py", TRAIN)
    commit(folder)
    monkeypatch.chdir(folder)
    return folder


def codes(home: Path, run_id: str | None = None) -> list[Code]:
    """Return what a run says of the code that runs."""
    return [event for event in events(home, run_id) if isinstance(event, Code)]


def train(script: Path, run_id: str) -> None:
    """Run a training as a user does."""
    subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "STEPLOG_RUN_ID": run_id},
        timeout=DEADLINE_SECONDS,
        check=True,
    )


def test_run_log_shows_the_commit_that_ran(
    home: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step has it, once, however many processes were in the run, wherever they worked."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        train(repository / "train.py", "r")
    assert steplogd("drain").returncode == 0
    shown = subprocess.run(
        [Path(sys.executable).with_name("steplog"), "show", "r", "--json"],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )

    told = {
        "code_identifier": head(repository),
        "code_identifier_type": "git",
        "code_identifier_dependable": True,
        "code_identifier_url": "https://example.org/a.git",
        "code_identifier_message": "",
    }
    steps = json.loads(shown.stdout)["steps"]

    assert {name: step["code_identities"] for name, step in steps.items()} == {
        "main": [told],
        "train": [told],
        "success": [told],
    }


def test_changed_training_is_not_dependable(home: Path, repository: Path) -> None:
    """What ran is not what was committed, and the message says where."""
    write(repository / "train.py", f"{TRAIN}\n")
    train(repository / "train.py", "r")

    assert [
        (code.code_identifier_dependable, code.code_identifier_message) for code in codes(home)
    ] == [(False, "changed files: train.py")]


def test_program_without_a_file_is_where_it_works(home: Path, repository: Path) -> None:
    """`python -c` in a repository runs its code; the event follows the join, numbered as any."""
    run_program("import steplog; steplog.track_this(a=1)")

    assert [type(event) for event in events(home)[:3]] == [Open, Join, Code]
    assert is_gapless(numbers(home))


def test_forked_child_says_nothing_again(home: Path, repository: Path) -> None:
    """The child runs the code of its parent."""
    done = run_program("""
        import os, steplog
        run = steplog.start_run("r")
        if os.fork() == 0:
            steplog.track_this(child=True)
            raise SystemExit
        os.wait()
    """)

    assert done.stderr == ""
    assert len([event for event in events(home) if isinstance(event, Join)]) == 2
    assert len(codes(home)) == 1


def test_looking_starts_no_process_and_no_thread(home: Path, repository: Path) -> None:
    """Not even git: the training's own thread reads what is there, and leaves no file open."""
    (repository / "train.py").touch()
    git(repository, "gc")
    done = run_program("""
        import os, sys, steplog
        steplog.start_run("before").end()
        files = os.listdir("/proc/self/fd")
        seen = []
        sys.addaudithook(lambda name, _: seen.append(name))
        steplog.start_run("r").end()
        starts = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system", "os.exec")
        assert not [name for name in seen if name.startswith((*starts, "_thread.start"))], seen
        assert os.listdir("/proc/self/fd") == files
    """)

    assert done.stderr == ""
    assert codes(home, "r")[0].code_identifier_dependable


def test_process_without_descriptors_starts_its_run(home: Path, repository: Path) -> None:
    """Where neither git's files nor our own can be read, the run goes on without an identity."""
    done = run_program("""
        import logging, os, resource, steplog
        resource.setrlimit(resource.RLIMIT_NOFILE, (30, resource.getrlimit(7)[1]))
        taken = []
        try:
            while True: taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError: pass
        run = steplog.start_run("r")
        os.close(taken.pop())
        run.track_this(a=1)
        run.end()
        os.close(taken.pop())
        os.close(taken.pop())
        steplog.start_run("later").end()
    """)

    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert len(codes(home, "later")) == 1
