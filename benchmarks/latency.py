"""How soon after a call the run log has it, and MLflow: at rest, and beside a run that is busy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import steplog
from benchmarks.frame.answer import Measure, Row
from benchmarks.frame.daemon import Look, new_home, serving, wait_until
from benchmarks.frame.question import Notebook, ask
from benchmarks.frame.spread import measure, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAUSE_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 25.0  # then there are fewer events: a tracker may be far behind
FEWEST_FOR_P99: Final = 100
BUSY_RATE: Final = 20_000
RUN_ID: Final = "measured"
IN_RUN_LOG: Final = "SELECT position FROM run WHERE run_id = ?"
IN_MLFLOW: Final = "SELECT step FROM latest_metrics WHERE key = 'loss' AND step < 1000000"
MLFLOW: Final = '[[backend]]\ntype = "mlflow"\n'

# Appends lines of another run at a steady rate, in bursts of a hundredth of a second.
BUSY: Final = f"""
import itertools, sys, time
import steplog
with steplog.start_run("busy"):
    begin, steps = time.perf_counter(), itertools.count(1_000_000)
    print(flush=True)
    while True:
        due = (time.perf_counter() - begin) * {BUSY_RATE} + 1_000_000
        for step in steps:
            steplog.track_this(step=step, other=0.5)
            if step > due:
                break
        time.sleep(0.01)
"""

HOW: Final = """\
One writer calls `track_this` ten times a second. The clock runs from just before the call until
a read-only connection, kept open and asked every millisecond, sees the value: in `steplog.db`, or
in the `mlflow.db` of the embedded MLflow store. Under load another process
appends 20,000 events a second to a run of its own, and all of them go the same way meanwhile."""


def latency(notebook: Notebook) -> None:
    """Measure both places, at rest and under load."""
    events = notebook.size(200, 10)
    found: dict[str, list[float]] = {}
    for place, config in (("run log", ""), ("MLflow", MLFLOW)):
        for state in ("at rest", "under load"):
            notebook.say(f"to the {place}, {state}")
            with new_home() as home, serving(home, config):
                found[f"{place}, {state}"] = sorted(seconds(home, events, place, state))
    columns = [("median", "ms"), ("p99", "ms"), ("highest", "ms"), ("events", "")]
    rows = [Row(f"to the {what}", _cells(ordered)) for what, ordered in found.items()]
    notebook.table("From the call until it can be seen", columns, rows)
    log, mlflow = _spread(found["run log, at rest"]), _spread(found["MLflow, at rest"])
    notebook.at_most("run log at rest, median", 15, "ms", log[0] * 1e3)
    notebook.at_most("run log at rest, p99", 50, "ms", log[1] * 1e3)
    notebook.at_most("MLflow at rest, median", 200, "ms", mlflow[0] * 1e3)
    notebook.bars(
        "median",
        "From the call until it can be seen, median",
        "ms",
        [(f"steplog: {what}", measure([_spread(one)[0]], 1e3)) for what, one in found.items()],
    )
    notebook.version("anyio", "inotify_simple", "mlflow", "msgspec")
    notebook.text(HOW)


def seconds(home: Path, events: int, place: str, state: str) -> list[float]:
    """Return the seconds from each call until it is seen."""
    os.environ["STEPLOG_HOME"] = str(home)
    name, sql = ("steplog.db", IN_RUN_LOG) if place == "run log" else ("mlflow.db", IN_MLFLOW)
    parameters = (RUN_ID,) if place == "run log" else ()
    with contextlib.ExitStack() as opened:
        opened.enter_context(steplog.start_run(RUN_ID))
        steplog.track_this(step=1, loss=0.5)
        look = opened.enter_context(Look(home / name, sql, *parameters))
        wait_until(lambda: look.number() == 1)
        if state == "under load":
            opened.enter_context(_busy(home))
        return list(_each(look, events))


def _each(look: Look, events: int) -> Iterator[float]:
    deadline = time.monotonic() + LONGEST_SECONDS
    for step in range(2, events + 2):
        if time.monotonic() > deadline:
            return
        yield _seconds(look, step)


def _seconds(look: Look, step: int) -> float:
    time.sleep(PAUSE_SECONDS)
    start = time.perf_counter()
    steplog.track_this(step=step, loss=0.5)
    wait_until(lambda: look.number() >= step)
    return time.perf_counter() - start


@contextlib.contextmanager
def _busy(home: Path) -> Iterator[None]:
    environment = {**os.environ, "STEPLOG_HOME": str(home)}
    environment.pop("STEPLOG_RUN_ID", None)
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(1.0)  # it is steady then
            yield
        finally:
            writer.kill()


def _cells(ordered: list[float]) -> tuple[Measure | None, ...]:
    median, p99, highest = (measure([one], 1e3) for one in _spread(ordered))
    is_enough = len(ordered) >= FEWEST_FOR_P99
    return median, p99 if is_enough else None, highest, measure([len(ordered)])


def _spread(ordered: list[float]) -> tuple[float, float, float]:
    """Return median, p99 and the highest."""
    return percentile(ordered, 0.5), percentile(ordered, 0.99), ordered[-1]


if __name__ == "__main__":
    ask(6, "Latency", "How soon after a call can it be seen?", latency)
