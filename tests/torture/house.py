"""A house: the folder, the chance, the budget, the processes and the judge of one torture."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Self

from tests.daemon import QUICK
from tests.torture import judging
from tests.torture.actors import ROOT, THIRD_PARTY, Actor, Daemon, Writer
from tests.torture.judging import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.torture.judging import Witness

SETTLE_SECONDS: Final = 120
SETTLE_TIMES: Final = 4
"""The file backend takes small batches: what was tracked for long takes longer to arrive."""

MOST_TIMES: Final = 5
FILE_BACKEND: Final = '[[backend]]\ntype = "file"\n'


class Unavailable(Exception):  # it is a state of the machine, not a mistake
    """A torture cannot be tried here; the text says what it lacks."""


class House:
    """What a torture has at hand; at its end every process that it started is gone.

    Attributes:
        folder: For whatever it makes.
        home: Where tasks track to, and the daemon serves.
        random: Chance, from the seed.
        tried: How often each fault happened.
        verdict: What the judge has found so far.
        notes: What was measured besides, one sentence each.

    Args:
        folder: Is made.
        seed: Of the chance.
        budget_seconds: For how long `rounds` goes on.
    """

    def __init__(self, folder: Path, seed: str, budget_seconds: float) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.random = random.Random(seed)
        self.budget_seconds = budget_seconds
        self.tried: Counter[str] = Counter()
        self.verdict = Verdict()
        self.notes: list[str] = []
        self._actors: list[Actor] = []
        self._writers: list[Writer] = []
        self._names = 0

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            actor.kill()

    @property
    def environment(self) -> dict[str, str]:
        """What processes of this house are started with: strict, so that a loss is told at once."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(("STEPLOG_", "RUNNABLE_"))
        }
        path = os.pathsep.join(filter(None, (str(THIRD_PARTY), kept.get("PYTHONPATH"))))
        kept |= {"STEPLOG_HOME": str(self.home), "STEPLOG_STRICT": "1", "PYTHONPATH": path}
        return kept

    def rounds(self, least: int = 1, until: Sequence[str] = ()) -> Iterator[int]:
        """Count rounds for as long as the budget lasts, and at least so many.

        Args:
            least: How many there are at least.
            until: Faults that chance decides on: up to five times as many rounds are given them.
        """
        end = time.monotonic() + self.budget_seconds
        number = 0
        while number < least or time.monotonic() < end or self._want_more(until, number, least):
            yield number
            number += 1

    def _want_more(self, faults: Sequence[str], number: int, least: int) -> bool:
        return number < MOST_TIMES * least and not all(self.tried[fault] for fault in faults)

    def pause(self, least: float, most: float) -> None:
        """Let time pass: a random moment between these many seconds from now."""
        time.sleep(self.random.uniform(least, most))

    def happened(self, fault: str, times: int = 1) -> None:
        """Count a fault that has happened, not one that was only meant to."""
        self.tried[fault] += times

    def note(self, sentence: str) -> None:
        """Add what was measured besides to the report."""
        self.notes.append(sentence)

    def keep(self, actor: Actor) -> None:
        """See that a process is gone at the end."""
        self._actors.append(actor)

    def writer(
        self, run_id: str, kind: str = "mixed", pace: float = 1000, **environment: str
    ) -> Writer:
        """Make a writer, which tracks under a key of its own; it is judged with the others."""
        self._names += 1
        environment = self.environment | environment
        writer = Writer(self.folder, environment, run_id, f"w{self._names}", kind, pace)
        self._writers.append(writer)
        self.keep(writer)
        return writer

    def configure(self, text: str = FILE_BACKEND, settings: str = QUICK) -> Path:
        """Write the daemon's configuration: quick settings unless told otherwise, and this."""
        path = self.folder / "steplogd.toml"
        path.write_text(settings + text, encoding="utf-8")
        return path

    def daemon(self, config: str = FILE_BACKEND, settings: str = QUICK) -> Daemon:
        """Make a daemon over the home."""
        path = self.configure(config, settings)
        daemon = Daemon(self.environment, path, self.folder / "daemon.log")
        self.keep(daemon)
        return daemon

    def settle(self) -> None:
        """Have all that is there folded and delivered, by the daemon when one serves."""
        timeout_seconds = SETTLE_SECONDS + SETTLE_TIMES * self.budget_seconds
        drain = ["drain", "--timeout", str(timeout_seconds), "--json"]
        done = self.steplogd(*drain, timeout_seconds=timeout_seconds + 30)
        assert done.returncode == 0, f"drain ended with {done.returncode}: {done}"

    def steplogd(
        self, *arguments: str, timeout_seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the daemon over this home to its end."""
        return subprocess.run(
            [sys.executable, "-m", "steplogd", *arguments, "--config", str(self.configured)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    @property
    def configured(self) -> Path:
        """The configuration as it was written last."""
        path = self.folder / "steplogd.toml"
        return path if path.exists() else self.configure()

    def judge(self, witnesses: Iterable[Witness] | None = None) -> None:
        """Compare spool, run log and file backend, if one is configured, with the oracles.

        Args:
            witnesses: Who tracked; without them, all writers of the house.
        """
        chosen = list(self._writers if witnesses is None else witnesses)
        arrived = self._arrivals()
        for run_id in dict.fromkeys(one.run_id for one in chosen):
            of_run = [one for one in chosen if one.run_id == run_id]
            self.verdict.add(self._judge_run(run_id, of_run))
            if arrived:
                seen = judging.of_arrivals(arrived / f"{run_id}.jsonl")
                self._find("the backend", of_run, seen)

    def _arrivals(self) -> Path | None:
        """Return where what the file backend got lies by run; None without one."""
        if '"file"' not in self.configured.read_text("utf-8"):
            return None
        folder = self.folder / "arrived"
        judging.split_by_run(self.home / "arrived.jsonl", folder)
        return folder

    def _judge_run(self, run_id: str, of_run: list[Witness]) -> Verdict:
        self._find("the spool", of_run, judging.of_spool(self.home, run_id))
        return judging.compare("the run log", of_run, judging.of_run_log(self.home, run_id))

    def _find(self, place: str, of_run: list[Witness], seen: Any) -> None:
        """Judge a further place: its calls are counted where the run log is judged."""
        found = judging.compare(place, of_run, seen)
        found.calls = 0
        self.verdict.add(found)

    def run_row(self, run_id: str) -> dict[str, Any]:
        """Return a run's row in the store: its status, and what was counted."""
        columns = ("status", "killed", "position", "lost", "gaps", "repeated", "malformed")
        sql = f"SELECT {', '.join(columns)} FROM run WHERE run_id = ?"
        (row,) = judging.query(self.home, sql, run_id)
        return dict(zip(columns, row, strict=True))

    def left_behind(self) -> dict[str, Any]:
        """Return what `steplogd status` says."""
        status: dict[str, Any] = json.loads(self.steplogd("status", "--json").stdout)
        return status
