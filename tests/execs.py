"""`steplog exec` as a real process, for tests: run to its end, or started; and what it tracked."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from steplog.events import task_path
from tests.commands import STEPLOG
from tests.conftest import DEADLINE_SECONDS, events, tracked

if TYPE_CHECKING:
    from pathlib import Path

EXEC = (*STEPLOG, "exec", "--run-id", "r")
SHELLS = [shell for shell in ("dash", "bash", "/bin/sh") if shutil.which(shell)]
both = pytest.mark.parametrize("shell", SHELLS)

A = "export STEPLOG_TRACK_a=1\n"
"""A line of a script that tracks something."""


def run_exec(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run `steplog exec` in run `r` to its end, in the environment of the test."""
    usual = {"capture_output": True, "timeout": DEADLINE_SECONDS, "check": False}
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        [*EXEC, *arguments], **{**usual, **options}
    )
    return done


def start_exec(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start `steplog exec` in run `r`; what it prints can be read as it comes."""
    usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "bufsize": 0}
    process: subprocess.Popen[bytes] = subprocess.Popen([*EXEC, *arguments], **{**usual, **options})
    return process


def values(home: Path, *path: str) -> dict[str, Any]:
    """Return what run `r` tracked in a task (`main` unless named), at all steps, in order."""
    found: dict[str, Any] = {}
    for event in tracked(home, "r"):
        if task_path(event.task) == (path or ("main",)):
            found |= {f"{k}@{event.step}" if event.step else k: v for k, v in event.values.items()}
    return found


def kinds(home: Path) -> list[str]:
    """Return what kinds of events run `r` has, in their order."""
    return [type(event).__name__ for event in events(home, "r")]


def log_of(home: Path, name: str = "main") -> bytes:
    """Return the log of a task of run `r`."""
    return (home / "catalog" / "r" / f"{name}.execution.log").read_bytes()


def script(path: Path, text: str) -> str:
    """Write a script that can be executed; its path."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)
