"""`steplogd` forked from a process that has imported MLflow, which by itself takes seconds each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing.forkserver import ensure_running, set_forkserver_preload
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT: Final = Path(__file__).parents[1]
_CONTEXT: Final = multiprocessing.get_context("forkserver")

set_forkserver_preload(["tests.preloaded"])


class Process(Protocol):
    """What tests use of a process, be it forked or a `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """Return its status if it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its status."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""

    def kill(self) -> None:
        """Kill it, unless it has ended."""


class Forked:
    """`steplogd` with these arguments, as a process of its own.

    Args:
        arguments: After the command's name.
        environment: All that it has.
        stdout: The file to append to; ours if there is none.
        stderr: The same.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        stdout: Path | None = None,
        stderr: Path | None = None,
    ) -> None:
        named = (dict(environment), Path.cwd(), {1: stdout, 2: stderr})
        with contextlib.chdir(_ROOT):  # the first time it starts, and looks for `tests` there
            ensure_running()
        self._process = _CONTEXT.Process(target=_steplogd, args=(arguments, *named))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return its status if it has ended; the negative number of the signal that killed it."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its status."""
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(["steplogd"], timeout or 0)
        return status

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


def run_forked(timeout_seconds: float, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `steplogd` to its end, in the environment of the test."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        process = Forked(arguments, os.environ, stdout, stderr)
        try:
            status = process.wait(timeout_seconds)
        finally:
            process.kill()
        return subprocess.CompletedProcess(
            ["steplogd", *arguments], status, stdout.read_text("utf-8"), stderr.read_text("utf-8")
        )


def _steplogd(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    folder: Path,
    outputs: dict[int, Path | None],
) -> Any:
    from steplogd.__main__ import main

    for number, path in outputs.items():
        if path is not None:
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["steplogd", *arguments]
    main(arguments)
