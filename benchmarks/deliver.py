"""How many points a second reach MLflow, beside MLflow's own client."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.delivery import clients
from benchmarks.delivery.clients import Load, Taken
from benchmarks.delivery.places import EMBEDDED, Place, places
from benchmarks.delivery.points import BATCH
from benchmarks.frame.answer import Measure, Row
from benchmarks.frame.question import Notebook, ask
from benchmarks.frame.spread import measure, ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS: Final = "steplog"
ASYNC: Final = "MLflow, async logging"
THREADS: Final = {1: (1,), 8: (1, 2, 4, 8)}
"""With how many threads the bare client delivers so many runs."""

HOW: Final = """\
Runs of ten metrics a step. The bare client calls `log_batch` with 1,000 metrics, which it makes in
the loop; a run is delivered by one thread from beginning to end. steplog's runs are folded before
the clock starts; its exporter reads them from the run log, sends them, and has all of it proved and
acknowledged when the clock stops. Every client is a process of its own; in each round all of them
take turns. Servers run as `mlflow server` starts them, and PostgreSQL with its defaults."""

WHERE: Final = """\
Where the time of 1,000 points goes, one run, through a server: processor time of the client,
processor time of the server (with its database), and what is left: waiting, for the disk, and for
acknowledgements of TCP. A server writes head and body of an answer apart, and its kernel keeps the
body back until the client's has acknowledged the head, which that puts off by 40 ms."""


class Spent(NamedTuple):
    """What 1,000 points took, in seconds."""

    wall: float
    client_cpu: float
    server_cpu: float


class Way(NamedTuple):
    """A client, and the process that it always is: what one does to its process is its own."""

    label: str
    process: str
    deliver: Callable[[Load], Taken]


Rounds = dict[tuple[str, int, str], list[Spent]]


def deliver(notebook: Notebook) -> None:
    """Measure all clients at all places, round by round."""
    notebook.version("steplog", "mlflow")
    notebook.text(HOW)
    rounds: Rounds = {}
    failed: dict[tuple[str, int, str], str] = {}
    with places() as found, processes() as pools:
        for place in found:
            if not place.error:
                # What workers of a server do once, at their first request, is nobody's.
                notebook.say(f"{place.name}, a warm-up")
                _turn(place, Load(place.server_url, 8, 1), 0, pools, {}, {})
        for number in range(notebook.size(3, 1)):
            for place in found:
                for runs in THREADS:
                    if not place.error:
                        notebook.say(f"{place.name}, {runs} at once, round {number + 1}")
                        load = Load(place.server_url, runs, _batches(notebook, runs))
                        _turn(place, load, number, pools, rounds, failed)
    for runs in THREADS:
        _tell(notebook, found, runs, rounds, failed)
    _tell_where(notebook, found, rounds)


def ways(runs: int) -> list[Way]:
    """Return who delivers so many runs; the bare loop stands second."""
    threads = [
        Way(label_of(runs, count), "bare", partial(clients.bare, threads=count))
        for count in THREADS[runs]
    ]
    asynchronous = Way(ASYNC, "async", clients.asynchronous)
    return [Way(OURS, OURS, clients.steplog), *threads, asynchronous]


def label_of(runs: int, threads: int) -> str:
    """Return what the bare client is called."""
    if runs == 1:
        return "MLflow, a loop of log_batch"
    return f"MLflow, {threads} thread{'s' if threads > 1 else ''}"


@contextlib.contextmanager
def processes() -> Iterator[dict[str, ProcessPoolExecutor]]:
    """Start the clients' processes; they are gone after the block, whatever they wait for."""
    fresh = multiprocessing.get_context("spawn")
    pools = {way.process: ProcessPoolExecutor(1, mp_context=fresh) for way in ways(1)}
    try:
        yield pools
    finally:
        for pool in pools.values():
            _kill(pool)
            pool.shutdown(wait=False, cancel_futures=True)


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.kill()


def _batches(notebook: Notebook, runs: int) -> int:
    return notebook.size(12 if runs == 1 else 4, 2)


def _turn(
    place: Place,
    load: Load,
    number: int,
    pools: dict[str, ProcessPoolExecutor],
    rounds: Rounds,
    failed: dict[tuple[str, int, str], str],
) -> None:
    """Let each client deliver once; each second round the other way about."""
    for way in ways(load.runs)[:: -1 if number % 2 else 1]:
        key = (place.name, load.runs, way.label)
        if key in failed:
            continue
        before = place.cpu_seconds()
        try:
            taken = pools[way.process].submit(way.deliver, load).result(clients.PATIENCE_SECONDS)
        except Exception as error:  # noqa: BLE001  # MLflow's may raise anything
            if isinstance(error, TimeoutError):
                _kill(pools[way.process])  # it would keep all that follow waiting
            failed[key] = f"{type(error).__name__}: {error}"[:200]
            continue
        calls = load.runs * load.batches
        spent = (*taken, place.cpu_seconds() - before)
        rounds.setdefault(key, []).append(Spent(*(seconds / calls for seconds in spent)))


def _tell(
    notebook: Notebook,
    found: list[Place],
    runs: int,
    rounds: Rounds,
    failed: dict[tuple[str, int, str], str],
) -> None:
    title = "one run" if runs == 1 else f"{runs} runs at once"
    rows = []
    for way in ways(runs):
        keys = [(place.name, runs, way.label) for place in found]
        cells = tuple(_rate(rounds.get(key)) for key in keys)
        notes = [failed.get(key, place.error) for key, place in zip(keys, found, strict=True)]
        rows.append(Row(way.label, cells, "; ".join(note for note in notes if note)))
    notebook.table(f"Points a second, {title}", [(one.name, "points/s") for one in found], rows)
    for place in found:
        _goal(notebook, place, runs, rounds)
    server = next((place for place in found if place.server_url), None)
    if server is not None:
        bars = [
            (way.label, rate)
            for way in ways(runs)
            if (rate := _rate(rounds.get((server.name, runs, way.label)))) is not None
        ]
        notebook.bars(f"{runs}", f"{server.name}, {title}", "points/s", bars)


def _goal(notebook: Notebook, place: Place, runs: int, rounds: Rounds) -> None:
    ours = rounds.get((place.name, runs, OURS))
    bare = {
        count: spent
        for count in THREADS[runs]
        if (spent := rounds.get((place.name, runs, label_of(runs, count))))
    }
    # Whoever failed in one round has no more of them.
    bare = {count: spent for count, spent in bare.items() if ours and len(spent) == len(ours)}
    reached, note = None, place.error
    if ours and bare:
        best = min(bare, key=lambda count: statistics.median(one.wall for one in bare[count]))
        walls = [[one.wall for one in spent] for spent in (bare[best], ours)]
        reached = ratios(*walls).value
        note = "" if runs == 1 else f"the best number of threads is {best}"
    beside = "the bare loop" if runs == 1 else "the best number of threads"
    limit = 1.5 if runs == 1 and place.name != EMBEDDED else 1
    asks = f"{place.name}, {runs} run{'s' if runs > 1 else ''}, beside {beside}"
    notebook.at_least(asks, limit, "times", reached, note=note)


def _tell_where(notebook: Notebook, found: list[Place], rounds: Rounds) -> None:
    columns = [(name, "ms") for name in ("in all", "client", "server", "waiting")]
    rows = [
        Row(f"{way.label}: {place.name}", _where(rounds[place.name, 1, way.label]))
        for place in found
        for way in ways(1)
        if place.server_url and (place.name, 1, way.label) in rounds
    ]
    if rows:
        notebook.text(WHERE)
        notebook.table("Where 1,000 points go", columns, rows)


def _where(spent: list[Spent]) -> tuple[Measure, ...]:
    waiting = [max(one.wall - one.client_cpu - one.server_cpu, 0) for one in spent]
    return tuple(measure(part, 1000) for part in (*zip(*spent, strict=True), waiting))


def _rate(spent: list[Spent] | None) -> Measure | None:
    return measure(BATCH / one.wall for one in spent) if spent else None


if __name__ == "__main__":
    ask(5, "Deliver", "How many points a second reach MLflow?", deliver)
