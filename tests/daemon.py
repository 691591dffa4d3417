"""The daemon as a real process, for tests: run to its end, or started and told to stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.zygote import Forked, run_forked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.zygote import Process

QUICK = "grace_seconds = 0.1\nsweep_seconds = 0.5\nshutdown_seconds = 1.0\n"
"""Settings of tests that wait for a run's end."""


def steplogd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `steplogd` to its end, in the environment of the test."""
    if "PYTHONPATH" in os.environ:  # an interpreter looks there when it starts
        command = [sys.executable, "-m", "steplogd", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
        )
    return run_forked(DEADLINE_SECONDS, *arguments)


@contextlib.contextmanager
def serving(
    home: Path, *arguments: str, program: str = "", until: bytes = b'"serving"'
) -> Iterator[Process]:
    """Serve a home with `steplogd run`, or with a program of Python, for the block's duration.

    It begins when the log has these words.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home.parent / f"{home.name}.log"
    log.write_bytes(b"")
    process = _start(home, arguments, program, log)
    try:
        wait_until(lambda: until in log.read_bytes() or process.poll() is not None)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _start(home: Path, arguments: tuple[str, ...], program: str, log: Path) -> Process:
    environment = {**os.environ, "STEPLOG_HOME": str(home)}
    if not program and "PYTHONPATH" not in environment:
        return Forked(("run", *arguments), environment, stderr=log)
    command = ["-c", program] if program else ["-m", "steplogd", "run"]
    with log.open("ab") as stderr:
        return subprocess.Popen(
            [sys.executable, *command, *arguments], env=environment, stderr=stderr
        )


def configure(home: Path, text: str = "") -> str:
    """Write a configuration file with quick settings; return its path."""
    path = home.parent / f"{home.name}.toml"
    path.write_text(f"{QUICK}{text}", encoding="utf-8")
    return str(path)


def rows(home: Path, sql: str) -> list[Any]:
    """Return the rows of a query on the store, as any other process would see them."""
    uri = f"file:{home / 'steplog.db'}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            return connection.execute(sql).fetchall()
    except sqlite3.OperationalError:  # it is not there yet
        return []


def arrivals(path: Path) -> Iterator[dict[str, Any]]:
    """Go through what the file backend got; half a line, which a kill left, is none."""
    with path.open("rb") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def document(home: Path, run_id: str) -> dict[str, Any]:
    """Return the document of a run that ended."""
    found: dict[str, Any] = json.loads((home / "runs" / f"{run_id}.json").read_text())
    return found
