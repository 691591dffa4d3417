"""A `steplogd run` over a home of a benchmark's own, and what its store holds."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS: Final = 240.0
# What a run begins with: a writer that opens the spool and joins.
BEGINNING: Final = (
    '{"t":"open","w":"9f3ac1","n":0,"ts":1795449203490342}\n'
    '{"t":"join","w":"9f3ac1","n":1,"ts":1795449203490342}\n'
)
POINT: Final = (
    '{"t":"track","w":"9f3ac1","n":%d,"ts":1795449203490342,"task":"train","step":%d,'
    '"values":{"loss":%r}}\n'
)


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """Make a home that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="steplog-bench-") as folder:
        Path(folder, "spool").mkdir(mode=0o700)
        yield Path(folder)


class Daemon:
    """A daemon that serves.

    Attributes:
        process: Its process id.
        ready_seconds: How long it took until it served.
    """

    def __init__(self, process: int, ready_seconds: float) -> None:
        self.process = process
        self.ready_seconds = ready_seconds


@contextlib.contextmanager
def serving(home: Path, config: str = "") -> Iterator[Daemon]:
    """Serve a home for as long as the block lasts."""
    path, log = home / "steplogd.toml", home / "steplogd.log"
    path.write_text(config, "utf-8")
    command = [sys.executable, "-m", "steplogd", "run", "--config", str(path)]
    environment = {**os.environ, "STEPLOG_HOME": str(home)}
    start = time.perf_counter()
    with log.open("wb") as file, subprocess.Popen(command, env=environment, stderr=file) as popen:
        try:
            wait_until(lambda: b'"serving"' in log.read_bytes())
            yield Daemon(popen.pid, time.perf_counter() - start)
            popen.terminate()
            popen.wait(PATIENCE_SECONDS)
        finally:
            popen.kill()


def wait_until(is_so: Callable[[], bool], pause_seconds: float = 0.001) -> None:
    """Wait for something, but not for ever."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("the daemon does not do what is waited for")
        time.sleep(pause_seconds)


class Look:
    """One connection to read a SQLite file with, kept open.

    Args:
        path: The file, which its owner makes; this waits for it.
        sql: A query for one number.
    """

    def __init__(self, path: Path, sql: str, *parameters: object) -> None:
        wait_until(path.exists)
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self._sql = sql
        self._parameters = parameters

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def number(self) -> int:
        """Return what is committed now; 0 while there is nothing to ask."""
        try:
            row = self._connection.execute(self._sql, self._parameters).fetchone()
        except sqlite3.OperationalError:  # the schema is being made
            return 0
        return int(row[0] or 0) if row else 0
