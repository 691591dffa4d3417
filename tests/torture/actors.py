"""Who takes part in a torture, each a real process: writers, and the daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.torture.oracle import Oracle

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[2]
THIRD_PARTY: Final = ROOT / "tests" / "integration" / "third_party"
_SERVING: Final = b'"serving"'


class Actor:
    """A process that can be killed, stopped for a while, and waited for.

    Attributes:
        process: The process as it is now; None before it was started.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None, "it was never started"
        return self.process.pid

    def lives(self) -> bool:
        """Tell whether it goes on."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kill it, if it still lives, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE_SECONDS)

    def signal(self, number: int) -> None:
        """Send it a signal; none to a process that is gone."""
        assert self.process is not None, "it was never started"
        self.process.send_signal(number)

    def _start(self, command: Sequence[str], log: Path) -> None:
        assert not self.lives(), "it goes on already"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
            )


class Writer(Actor):
    """A training, in a run of its own or with others.

    Attributes:
        run_id: Its run.
        key: What it tracks under; nobody else does.
        kind: What it tracks; see `value_of`.
        oracle: What it was given, and what returned.
        program: What it runs.
    """

    program = "tests.torture.writing"

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        run_id: str,
        key: str,
        kind: str = "mixed",
        pace: float = 1000,
    ) -> None:
        super().__init__(environment)
        self.run_id, self.key, self.kind = run_id, key, kind
        self._pace = pace
        self._log = folder / "writers.log"
        self._oracle_path = folder / f"{key}.oracle"
        self.oracle = Oracle(self._oracle_path)

    def start(self, *, wait: bool = True) -> Writer:
        """Start it; with `wait`, it has tracked something on return."""
        what = [str(self._oracle_path), self.run_id, self.key, self.kind, str(self._pace)]
        self._start([self.program, *what], self._log)
        return self.wait_for_call() if wait else self

    def wait_for_call(self) -> Writer:
        """Wait until it has tracked something."""
        wait_until(lambda: self.oracle.returned > 0 or not self.lives())
        assert self.lives(), f"a writer ended by itself: {self._log.read_text()[-2000:]}"
        return self

    def end(self) -> None:
        """Have it come to its end by itself, and see that it ended well."""
        self.oracle.end()
        assert self.process is not None, "it was never started"
        status = self.process.wait(DEADLINE_SECONDS)
        assert status == 0, f"a writer failed: {self._log.read_text()[-2000:]}"


class Daemon(Actor):
    """`steplogd run` over the home of a house."""

    def __init__(self, environment: dict[str, str], config: Path, log: Path) -> None:
        super().__init__(environment)
        self.config = config
        self.log = log

    def start(self, *, wait: bool = True) -> Daemon:
        """Start it; with `wait`, it serves on return."""
        self.log.touch()
        begin = self.log.stat().st_size
        self._start(["steplogd", "run", "--config", str(self.config)], self.log)
        if wait:
            wait_until(lambda: self.has_said(_SERVING, begin) or not self.lives())
            assert self.lives(), f"the daemon ended by itself: {self.tail()}"
        return self

    def stop(self) -> None:
        """Tell it to stop, and see that it does so in time, and well."""
        assert self.process is not None, "it was never started"
        assert self.lives(), f"the daemon has ended by itself: {self.tail()}"
        self.signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE_SECONDS)
        assert status == 0, f"the daemon ended with {status}: {self.tail()}"

    def has_said(self, text: bytes, begin: int = 0) -> bool:
        """Tell whether its log, from a place on, has a text."""
        with self.log.open("rb") as log:
            log.seek(begin)
            return text in log.read()

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-2000:]

    def memory_bytes(self) -> int:
        """Return how much memory of its own it has: resident, without files."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("RssAnon:")]
        return int(line.split()[1]) * 1024

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def cpu_seconds(self) -> float:
        """Return how much processor time it has had."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
