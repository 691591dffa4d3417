"""How many events a second go from spool to committed run log, beside decoding and inserting."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.frame.answer import Row
from benchmarks.frame.fold_floor import floor
from benchmarks.frame.folding import fold_all, line_over
from benchmarks.frame.processes import memory_mb
from benchmarks.frame.question import Notebook, ask
from benchmarks.frame.spread import measure, ratios
from steplogd.store.database import Database
from steplogd.store.run_logs import ROWS_A_STATEMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD: Final = '{"t":"track","w":"9f3ac1","n":%d,"ts":%d,"task":"train","step":%d,"values":{'
BEGAN_TS: Final = 1_795_449_203_490_342
LINES_AT_ONCE: Final = 10_000
LOOK_SECONDS: Final = 0.02
MOST_SECONDS: Final = 300
# A prime that divides no number of points here: the steps come in no order, each once.
SHUFFLE: Final = 7_919

HOW: Final = """\
The spools are there when `steplogd drain` begins, without a backend; of its time goes what it takes
over an empty home. The runs are visitors' alone, so none ends, and no document is written. The
floor is the least that such a daemon must do: read the same spools in the same pieces, decode each
with msgspec's `decode_lines`, and insert the same rows with `executemany` into a table of the same
schema, with the same pragmas and as much in a transaction. steplog inserts 50 rows with each
statement, so it can be above a floor that inserts one; the other floor does that too. Growth is
measured in one process, through what the daemon folds with, as nothing is left of 1,000 points when
a start is taken off."""


class Layout(msgspec.Struct, frozen=True):
    """What the spools are: how many runs, lines in each, and metrics in each line."""

    name: str
    runs: int
    lines: int
    metrics: int = 1
    is_ordered: bool = True

    @property
    def events(self) -> int:
        """How many lines there are in all."""
        return self.runs * self.lines


FLOORS: Final = {
    "floor": "decode_lines and insert",
    "floor of 50": "decode_lines and insert, 50 rows a statement",
}
EMPTY: Final = Layout("empty", 0, 0)


def layouts(notebook: Notebook) -> list[Layout]:
    """Return what is folded; the first one is what the goals are judged by."""
    share = notebook.size(1, 100)
    return [
        Layout("one run", 1, 500_000 // share),
        Layout("one run, ten metrics a line", 1, 50_000 // share, 10),
        Layout("one run, steps in no order", 1, 300_000 // share, is_ordered=False),
        Layout("100 runs", 100, 3_000 // share),
        Layout("1,000 runs", notebook.size(1_000, 100), 300 // share),
        Layout("5,000 runs", notebook.size(5_000, 100), notebook.size(60, 2)),
    ]


Rounds = dict[str, list[float]]


def fold(notebook: Notebook) -> None:
    """Measure every layout beside the floors, then growth, then one long run."""
    notebook.version("steplog", "msgspec")
    notebook.text(HOW)
    found = {layout: _rounds(notebook, layout) for layout in layouts(notebook)}
    first, *_ = found
    _tell(notebook, found)
    for base, asks in FLOORS.items():
        share = statistics.median(_shares(found[first], base))
        notebook.at_least(f"of the floor of {asks}, one run", 60, "%", 100 * share)
    rates = {what: first.events / statistics.median(found[first][what]) for what in found[first]}
    notebook.at_least(
        "from spool to committed run log, one run",
        300_000,
        "events/s",
        rates["steplog"],
        f"the floor itself makes {rates['floor']:,.0f}, with 50 rows a statement "
        f"{rates['floor of 50']:,.0f}",
    )
    _long_run(notebook)
    _growth(notebook)


def _rounds(notebook: Notebook, layout: Layout) -> Rounds:
    """Return the seconds of each round."""
    rounds: Rounds = {"floor": [], "floor of 50": [], "steplog": []}
    starts = []
    with _home(layout) as home, _home(EMPTY) as empty:
        for number in range(notebook.size(3, 1)):
            notebook.say(f"{layout.name}, round {number + 1}")
            rounds["floor"].append(floor(home))
            starts.append(drain(empty)[0])
            rounds["steplog"].append(drain(home)[0])
            rounds["floor of 50"].append(floor(home, ROWS_A_STATEMENT))
    start_seconds = statistics.median(starts)
    # In tiny sizes nothing may be left.
    rounds["steplog"] = [max(one - start_seconds, 1e-3) for one in rounds["steplog"]]
    return rounds


def _shares(rounds: Rounds, base: str) -> list[float]:
    return [one / ours for one, ours in zip(rounds[base], rounds["steplog"], strict=True)]


def _tell(notebook: Notebook, found: dict[Layout, Rounds]) -> None:
    columns = [
        ("events", "1/s"),
        ("points", "1/s"),
        ("of the floor", "times"),
        ("of the floor, 50 rows a statement", "times"),
    ]
    rows = []
    for layout, rounds in found.items():
        rates = [layout.events / seconds for seconds in rounds["steplog"]]
        cells = (
            measure(rates),
            measure(rates, layout.metrics),
            ratios(rounds["floor"], rounds["steplog"]),
            ratios(rounds["floor of 50"], rounds["steplog"]),
        )
        rows.append(Row(f"{layout.name}, {layout.events:,} events", cells))
    notebook.table("From spool to committed run log", columns, rows)
    layout, rounds = next(iter(found.items()))
    names = {"steplog": "steplog", "floor": "the floor", "floor of 50": "the floor, 50 rows a time"}
    bars = [
        (label, measure(layout.events / one for one in rounds[key])) for key, label in names.items()
    ]
    notebook.bars("rate", "One run, a point a line: events a second", "1/s", bars)


def _long_run(notebook: Notebook) -> None:
    """Fold one long run, and look at the process's memory."""
    layout = Layout("", 1, notebook.size(10_000_000, 20_000))
    notebook.say(f"one run of {layout.lines:,} points")
    with _home(layout) as home:
        seconds, highest_mb = drain(home)
    asks = f"the daemon's highest resident size, one run of {layout.lines:,} points"
    notebook.at_most(asks, 150, "MB", highest_mb)
    rate = layout.events / seconds
    notebook.text(
        f"One run of {layout.lines:,} points took {seconds:.1f} s, start-up included: "
        f"{rate:,.0f} events a second."
    )


def _growth(notebook: Notebook) -> None:
    """Fold runs of 1,000 points and more through the daemon's own line, in this process."""
    points = []
    for lines in notebook.size((1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000)):
        layout = Layout("", 1, lines)
        with _home(layout) as home:
            seconds = [in_process(home) for _ in range(3 if lines < 1_000_000 else 1)]
        points.append((float(lines), statistics.median(seconds) / lines * 1e6))
    x, y = ("points of the run", ""), ("a point", "µs")
    notebook.lines("growth", "What a point costs in a run of so many", x, y, {"steplog": points})


def drain(home: Path) -> tuple[float, float]:
    """Let `steplogd drain` fold a home; return the seconds, and its highest resident size in MB."""
    _forget(home)
    environment = {**os.environ, "STEPLOG_HOME": str(home)}
    config = home / "steplogd.toml"
    config.touch()  # lest somebody's own is taken
    command = [sys.executable, "-m", "steplogd", "drain", "--json", "--config", str(config)]
    start, highest = time.perf_counter(), 0.0
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
                break
            highest = max(highest, memory_mb(process.pid, highest=True))
            if time.perf_counter() - start > MOST_SECONDS:
                process.kill()
        seconds = time.perf_counter() - start
        answer = process.stdout.read() if process.stdout else b""
    if process.returncode or not json.loads(answer)["done"]:
        raise SystemExit(f"not all was folded within {MOST_SECONDS} s")
    return seconds, highest


def in_process(home: Path) -> float:
    """Fold a home as the daemon does, but here; return the seconds."""
    _forget(home)
    with contextlib.closing(Database(home / "steplog.db")) as database:
        line = line_over(home, database)
        start = time.perf_counter()
        fold_all(line)
        return time.perf_counter() - start


@contextlib.contextmanager
def _home(layout: Layout) -> Iterator[Path]:
    """Make a home with spools of this layout."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        spools = Path(folder, "spool")
        spools.mkdir()
        for run in range(layout.runs):
            with spools.joinpath(f"run-{run}.jsonl").open("wb") as spool:
                spool.writelines(_pieces(layout))
        yield Path(folder)


def _pieces(layout: Layout) -> Iterator[bytes]:
    names = [f"m{number}" for number in range(layout.metrics)]
    text = HEAD + ",".join(f'"{name}":%r' for name in names) + "}}\n"
    for first in range(0, layout.lines, LINES_AT_ONCE):
        numbers = range(first, min(first + LINES_AT_ONCE, layout.lines))
        yield "".join(text % _values(layout, n) for n in numbers).encode()


def _values(layout: Layout, n: int) -> tuple[float, ...]:
    step = n if layout.is_ordered else n * SHUFFLE % layout.lines
    return (n, BEGAN_TS + n * 1000, step, *(1 / (n + 2 + m) for m in range(layout.metrics)))


def _forget(home: Path) -> None:
    """Leave nothing of a home but its spools."""
    for path in home.iterdir():
        if path.is_dir() and path.name != "spool":
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


if __name__ == "__main__":
    ask(4, "Fold", "How fast do spools become run logs?", fold)
