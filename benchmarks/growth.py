"""How what each part costs grows over ten doublings of its size."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import resource
import time
from collections.abc import Callable  # msgspec resolves the types of a struct's fields
from typing import TYPE_CHECKING, Final

import msgspec

import steplog
from benchmarks.frame.answer import Row
from benchmarks.frame.daemon import BEGINNING, POINT, new_home
from benchmarks.frame.fits import LINEAR, exponent, growth, large_exponent
from benchmarks.frame.folding import fold_all, line_over
from benchmarks.frame.question import Notebook, ask
from benchmarks.frame.spread import measure
from steplogd.core.state import SUCCESS, Changes, RunState
from steplogd.delivery.courier import Courier
from steplogd.delivery.memory import MemoryBackend, MemoryOptions
from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions
from steplogd.logs.log import set_up_log
from steplogd.store.cursors import Cursors
from steplogd.store.database import Database
from steplogd.store.run_logs import FoldedRun, RunLogs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.delivery.contract import Backend

Points = list[tuple[float, float]]
GRACE_SECONDS: Final = 0.0
ROUNDS: Final = 3
# Of what takes milliseconds; three of them may all meet a slow moment.
SHORT_ROUNDS: Final = 10
RUNS_AT_ONCE: Final = 1_000
OFFSET: Final = 1_500
# A prime, that shares no factor with a number of runs: each comes once, in no order.
SHUFFLE: Final = 7_919

HOW: Final = """\
Each part is measured by itself, in one process, at sizes that double ten times; of three rounds
the fastest counts, and of ten where one takes milliseconds. The exponent is that of the power law
which fits time over size best: 0 does not grow, 1 is linear. "At the large end" it is fitted to the
larger half of the sizes, where what every size costs hides nothing. More than {} there is called a
defect."""


class Part(msgspec.Struct, frozen=True):
    """A part: what its size counts, its smallest size, and its costs by size."""

    what: str
    counts: str
    smallest: int
    measure: Callable[[list[int]], Points]


class House:
    """A home with its store, folded within this process."""

    def __init__(self, home: Path, held: contextlib.ExitStack) -> None:
        self.home = home
        self.database = Database(home / "steplog.db")
        held.callback(self.database.close)
        self.restart()

    def restart(self) -> None:
        """Take up what is committed, as a daemon that starts does."""
        self.line = line_over(self.home, self.database, GRACE_SECONDS)

    def fold(self) -> None:
        """Fold all that is there, and end the runs that are over."""
        fold_all(self.line)
        for _ in range(2):
            self.line.end_runs(time.monotonic(), time.time())


@contextlib.contextmanager
def new_house() -> Iterator[House]:
    """Build one that is deleted afterwards."""
    with contextlib.ExitStack() as held:
        yield House(held.enter_context(new_home()), held)


def emit(sizes: list[int]) -> Points:
    """Call `track_this` so many times."""
    found: Points = []
    for size in sizes:
        with new_home() as home:
            os.environ["STEPLOG_HOME"] = str(home)
            with steplog.start_run():
                start = time.perf_counter()
                for step in range(size):
                    steplog.track_this(step=step, loss=0.5)
                found.append((size, time.perf_counter() - start))
    return found


def fold(sizes: list[int]) -> Points:
    """Fold a run of so many points."""
    found: Points = []
    for size in sizes:
        with new_house() as house:
            _write_run(house.home, "r", size)
            found.append((size, _taken(house.fold)))
    return found


def deliver_to_memory(sizes: list[int]) -> Points:
    """Take a run of so many points from the run log to a backend that only keeps them."""
    return _delivered(sizes, lambda home: MemoryBackend(MemoryOptions(), home))


def deliver_to_mlflow(sizes: list[int]) -> Points:
    """Take it to MLflow's embedded store."""
    return _delivered(sizes, lambda home: MlflowBackend(MlflowOptions(), home))


def latency(sizes: list[int]) -> Points:
    """Fold and commit one more point of a run that has so many."""
    found: Points = []
    for size in sizes:
        with new_house() as house:
            _write_run(house.home, "r", size)
            house.fold()
            taken = []
            for number in range(size + 2, size + 22):
                with (house.home / "spool" / "r.jsonl").open("a", encoding="utf-8") as spool:
                    spool.write(POINT % (number, number, 0.5))
                taken.append(_taken(lambda: house.line.run(["r"])))
            found.append((size, sorted(taken)[len(taken) // 2]))
    return found


def check(sizes: list[int]) -> Points:
    """Look whether any of so many open runs is over, as it is done twice in each grace period."""
    return _at_rest(
        sizes, lambda house: house.line.end_runs(time.monotonic(), time.time(), everyone=False)
    )


def sweep(sizes: list[int]) -> Points:
    """Look for what no notification told, in so many spools."""
    return _at_rest(sizes, lambda house: house.line.spools.grown())


def start(sizes: list[int]) -> Points:
    """Take up a store of so many finished runs."""
    with contextlib.ExitStack() as held:
        houses = {size: held.enter_context(new_house()) for size in sizes}
        for size, house in houses.items():
            _finish_runs(house, size)
        # Round after round over all sizes: what slows the machine down for seconds slows all.
        rounds = [
            {size: _taken(house.restart) for size, house in houses.items()}
            for _ in range(SHORT_ROUNDS)
        ]
    return [(size, min(taken[size] for taken in rounds)) for size in sizes]


PARTS: Final = (
    Part("steplog: emit", "calls", 1_000, emit),
    Part("steplog: fold", "points", 500, fold),
    Part("steplog: deliver to memory", "points", 250, deliver_to_memory),
    Part("steplog: deliver to MLflow", "points", 16, deliver_to_mlflow),
    Part("steplog: fold one more point", "points before it", 500, latency),
    Part("steplog: a check at rest", "open runs", 4, check),
    Part("steplog: a sweep", "spools", 4, sweep),
    # The larger half begins where Python's 2,000 spare tuples, which cost nothing, are used up.
    Part("steplog: start-up", "finished runs", 64, start),
)


def grow(notebook: Notebook) -> None:
    """Measure all parts over their sizes, and fit."""
    set_up_log(logging.WARNING)  # each run that ends would be a line
    doublings = notebook.size(10, 3)
    rows, series = [], {}
    for part in PARTS:
        notebook.say(part.what)
        sizes = [part.smallest * 2**doubling for doubling in range(doublings + 1)]
        points = part.measure(sizes)
        large = large_exponent(points)
        cells = [measure([cost], 1e3) for _, cost in (points[0], points[-1])]
        cells += [measure([exponent(points)]), measure([large])]
        note = f"{growth(large)}; {part.counts} from {sizes[0]:,} to {sizes[-1]:,}"
        rows.append(Row(part.what, tuple(cells), note))
        series[part.what] = [(size / sizes[0], cost) for size, cost in points]
        notebook.at_most(f"{part.what}, exponent at the large end", LINEAR, "", large)
    columns = [("smallest", "ms"), ("largest", "ms"), ("exponent", ""), ("at the large end", "")]
    notebook.table("Over ten doublings", columns, rows)
    notebook.lines(
        "growth", "Over ten doublings", ("times its smallest size", ""), ("time", "s"), series
    )
    notebook.version("mlflow", "msgspec")
    notebook.text(HOW.format(LINEAR))


def _delivered(sizes: list[int], build: Callable[[Path], Backend]) -> Points:
    found: Points = []
    with new_house() as house:
        courier = Courier("backend", build(house.home), Cursors(house.database))
        _deliver(house, courier, "first", 1)  # which makes the tracker's store
        found = [(size, _deliver(house, courier, f"run-{size}", size)) for size in sizes]
        courier.close()
    return found


def _deliver(house: House, courier: Courier, run_id: str, size: int) -> float:
    _write_run(house.home, run_id, size)
    house.fold()
    number = RunLogs(house.database).load(run_id).run_no

    def all_of_it() -> None:
        while courier.advance(number):
            pass

    return _taken(all_of_it)


def _at_rest(sizes: list[int], look: Callable[[House], object]) -> Points:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(sizes[-1] + 256, hard), hard))
    found: Points = []
    with contextlib.ExitStack() as held, new_house() as house:
        for size in sizes:
            for number in range(size // 2 if found else 0, size):
                _open_run(house.home, f"run-{number}", held)
            house.fold()
            for _ in range(ROUNDS):  # what was heard of is due for two checks
                look(house)
            found.append((size, min(_taken(lambda: look(house)) for _ in range(SHORT_ROUNDS))))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return found


def _open_run(home: Path, run_id: str, held: contextlib.ExitStack) -> None:
    spool = held.enter_context((home / "spool" / f"{run_id}.jsonl").open("ab", buffering=0))
    fcntl.flock(spool, fcntl.LOCK_SH)
    spool.write((BEGINNING + POINT % (2, 0, 0.5)).encode())


def _finish_runs(house: House, size: int) -> None:
    """Commit so many runs that ended, by ids in no order; their observations nobody would read."""
    run_logs = RunLogs(house.database)
    for first in range(0, size, RUNS_AT_ONCE):
        ids = (f"run-{n * SHUFFLE % size}" for n in range(first, min(first + RUNS_AT_ONCE, size)))
        states = (RunState(run_id, status=SUCCESS) for run_id in ids)
        run_logs.commit((FoldedRun(0, state, OFFSET, bytes(16)), Changes()) for state in states)


def _write_run(home: Path, run_id: str, size: int) -> None:
    with (home / "spool" / f"{run_id}.jsonl").open("w", encoding="utf-8") as spool:
        spool.write(BEGINNING)
        spool.writelines(POINT % (n, n, 1 / (n + 1)) for n in range(2, size + 2))


def _taken(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


if __name__ == "__main__":
    ask(8, "Growth", "What grows with its size, and how fast?", grow)
