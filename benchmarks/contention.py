"""What a call costs when many processes or threads write to one run, beside bare writes."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.frame.answer import Row
from benchmarks.frame.processes import cpu_seconds
from benchmarks.frame.question import Notebook, ask
from benchmarks.frame.spread import measure
from benchmarks.peers.values import line

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES: Final = (1, 2, 8, 32)
KINDS: Final = {
    "bare": "bare os.write",
    "locked": "bare os.write under a lock",
    "steplog": "steplog",
}
# Fold what another run appends: 2,000 lines in one write, so often that the daemon never rests.
FEED_LINES: Final = 2_000
FEED_SECONDS: Final = 0.01
# For a crowd, which takes a second; longer, and it hangs.
PATIENCE_SECONDS: Final = 100

HOW: Final = """\
Each process joins the run by itself; all begin at once. "Together" is the time from the first
call to the last return over the number of all calls: what the machine can take. In each round
steplog and bare writes of the same line to one file alternate. While the daemon folds, another
process appends 2,000 lines every 10 ms to a run of its own; while it is dead, it was killed in
the middle of that. Threads of one interpreter share one writer,
which numbers its lines and writes them in that order, so they are also beside a bare write under
a lock. A thread writes on for half a millisecond while others wait, then the next has its turn:
the median of one is that of a turn's lines, the 99th percentile has the waiting in it."""


class Condition:
    """What the daemon does meanwhile, and what of a core that takes."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self._home = home
        self._daemon: subprocess.Popen[bytes] | None = None
        self.cpu_percent: list[float] = []

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Keep it so for as long as the block lasts."""
        if self.name == "no daemon":
            yield
            return
        self._home.joinpath("spool").mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "STEPLOG_HOME": str(self._home)}
        command = [sys.executable, "-m", "steplogd", "run"]
        stop = threading.Event()
        feeder = threading.Thread(target=self._feed, args=[stop])
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as self._daemon:
            feeder.start()
            _wait_for(self._home / "steplog.db")
            try:
                if self.name == "daemon killed":
                    time.sleep(0.5)  # in the middle of folding
                    self._daemon.kill()
                    stop.set()
                yield
            finally:
                stop.set()
                feeder.join()
                self._daemon.kill()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note how busy the daemon is during the block."""
        if self._daemon is None or self.name != "daemon folding":
            yield
            return
        used, start = cpu_seconds(self._daemon.pid), time.monotonic()
        yield
        used = cpu_seconds(self._daemon.pid) - used
        self.cpu_percent.append(used / (time.monotonic() - start) * 100)

    def _feed(self, stop: threading.Event) -> None:
        lines = line(1) * FEED_LINES
        with (self._home / "spool" / "fed.jsonl").open("ab", buffering=0) as file:
            while not stop.wait(FEED_SECONDS):
                file.write(lines)


def contention(notebook: Notebook) -> None:
    """Measure every condition, with processes and with threads."""
    notebook.version("steplog", "msgspec")
    notebook.text(HOW)
    for name in ("no daemon", "daemon folding", "daemon killed"):
        for way in ("processes", "threads"):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                condition = Condition(name, Path(folder, "home"))
                notebook.say(f"{way}, {name}")
                with condition.holding():
                    found = _measure(notebook, condition, Path(folder), way)
                _tell(notebook, condition, found, way)


Rounds = dict[tuple[str, int], list[dict[str, float]]]


def _measure(notebook: Notebook, condition: Condition, folder: Path, way: str) -> Rounds:
    found: Rounds = {}
    for _ in range(notebook.size(3, 1)):
        for count in SIZES:
            calls = notebook.size(48_000 if way == "processes" else 24_000, 6_400) // count
            for kind in _kinds(way):
                with condition.watched():
                    answer = _crowd(kind, folder, way, count, calls)
                found.setdefault((kind, count), []).append(answer)
    return found


def _kinds(way: str) -> list[str]:
    """Return what is compared; processes share no lock that could be held meanwhile."""
    return [kind for kind in KINDS if way == "threads" or kind != "locked"]


def _crowd(kind: str, folder: Path, way: str, count: int, calls: int) -> dict[str, float]:
    """Run a crowd in an interpreter of its own, which has imported nothing but what it needs."""
    program = (
        "import json, sys; from pathlib import Path; from benchmarks.peers import crowd;"
        f"print(json.dumps(crowd.{way}({kind!r}, Path({str(folder)!r}), {count}, {calls})))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=PATIENCE_SECONDS)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _tell(notebook: Notebook, condition: Condition, found: Rounds, way: str) -> None:
    """Add a table, a plot of processes without a daemon, and the goal."""
    columns = [
        ("together", "µs a call"),
        ("against one", "times"),
        ("median of one", "µs"),
        ("p99 of one", "µs"),
        ("maximum", "µs"),
    ]
    rows = [_row(found, kind, count) for count in SIZES for kind in _kinds(way)]
    busy = condition.cpu_percent
    note = f" (it takes {statistics.median(busy):.0f} % of a core)" if busy else ""
    notebook.table(f"{way.capitalize()}, {condition.name}{note}", columns, rows)
    growth = {kind: _growth(found, kind, SIZES[-1]) for kind in _kinds(way)}
    if way == "processes":
        reached = statistics.median(growth["steplog"]) / statistics.median(growth["bare"])
        asks = f"32 processes against one, {condition.name}, the bare write's own contention = 1"
        notebook.at_most(asks, 1.5, "times", reached)
    if condition.name == "no daemon":
        series = {KINDS[kind]: _points(found, kind) for kind in _kinds(way)}
        title = f"{way.capitalize()} on one run, no daemon"
        x, y = (way, ""), ("a call, all together", "µs")
        notebook.lines(way, title, x, y, series, log=False)


def _row(found: Rounds, kind: str, count: int) -> Row:
    rounds = found[kind, count]
    columns = ("together_us", "median_us", "p99_us", "max_us")
    together, *rest = (measure(one[name] for one in rounds) for name in columns)
    growth = measure(_growth(found, kind, count))
    return Row(f"{KINDS[kind]}, {count}", (together, growth, *rest))


def _growth(found: Rounds, kind: str, count: int) -> list[float]:
    """Return how many times what one costs so many do, round by round."""
    pairs = zip(found[kind, count], found[kind, 1], strict=True)
    return [many["together_us"] / one["together_us"] for many, one in pairs]


def _points(found: Rounds, kind: str) -> list[tuple[float, float]]:
    return [
        (count, measure(one["together_us"] for one in found[kind, count]).value) for count in SIZES
    ]


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        if time.monotonic() > end:
            raise SystemExit("the daemon did not start within 30 s")
        time.sleep(0.01)


if __name__ == "__main__":
    ask(2, "Contention", "What does a call cost when many write to one run?", contention)
