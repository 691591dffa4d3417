"""What a call costs in a task's own process, and what of it a kill leaves, beside the others."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.frame.answer import Measure, Row
from benchmarks.frame.environments import Environment, Unavailable
from benchmarks.frame.question import Notebook, ask
from benchmarks.frame.spread import measure
from benchmarks.peers.contenders import CONTENDERS, MODULES, STEPLOG, Contender
from benchmarks.peers.importing import import_seconds
from benchmarks.peers.running import stage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.peers.running import Stage

BARE: Final = "bare os.write"
MSGSPEC: Final = "bare msgspec encode + write"
# What `program turns` calls those that it measures.
IN_TURNS: Final = {"peer": STEPLOG, "bare": BARE, "msgspec": MSGSPEC}
TIMES: Final = {
    "median_us": ("median", "µs"),
    "p99_us": ("p99", "µs"),
    "p999_us": ("p99.9", "µs"),
    "max_us": ("maximum", "µs"),
    "cpu_us": ("processor", "µs a call"),
}

# A contender that took so long is measured no further: most of it is what an import takes.
ENOUGH_SECONDS: Final = 8.0

HOW: Final = """\
Each round of each peer is a process of its own in the peer's own environment; rounds of all peers
alternate, three of them, or fewer where a peer takes many seconds to start or to end; ten values
are measured in the first. Calls are timed one by one, what reading the clock takes is taken off;
the first 20 calls, which open files and start threads, are left out. steplog, the bare write of
the same bytes, and a bare msgspec encode and write alternate in blocks within one process.
"Processor" is the time of all threads and child processes until the peer has finished, an MLflow
server's left out. A percentile for which a round had too few calls is left out."""

KILLED: Final = """\
The task kills itself with SIGKILL right after the last call has returned; what is there
afterwards is read back in the peer's own way. "With its helpers": the processes that it started
are killed in the same moment, as a batch system or a container does it; where it started none,
that is the same."""


class Found:
    """What was measured so far: rounds by label, number of values and quantity; and what failed."""

    def __init__(self) -> None:
        self.rounds: dict[tuple[str, int], list[dict[str, float]]] = {}
        self.seconds: dict[str, float] = {}
        self.whole: dict[str, list[dict[str, Any]]] = {}
        self.kept: dict[str, dict[str, float]] = {}
        self.failed: dict[str, str] = {}
        self.unread: dict[str, str] = {}

    def add(self, label: str, values: int, found: dict[str, float]) -> None:
        """Keep a round."""
        self.rounds.setdefault((label, values), []).append(found)

    def of(self, label: str, values: int, quantity: str) -> list[float]:
        """Return a quantity of all rounds; none if there were too few calls for it."""
        rounds = self.rounds.get((label, values), [])
        return [one[quantity] for one in rounds if quantity in one]

    def ratio(self, values: int, quantity: str, base: str, of_base: str = "") -> float | None:
        """Return steplog's quantity over that of another, the median of the rounds."""
        ours = self.of(STEPLOG, values, quantity)
        theirs = self.of(base, values, of_base or quantity)
        return statistics.median(map(_divide, ours, theirs)) if ours and theirs else None


def emit(notebook: Notebook) -> None:
    """Measure all contenders, round by round."""
    found = Found()
    with stage(CONTENDERS) as there:
        _turns(notebook, there, found)
        for number in range(notebook.size(3, 1)):
            _round(notebook, there, found, number)
        for contender in CONTENDERS:
            _kill(notebook, there, found, contender)
        imports = _imports(notebook, there)
    notebook.text(HOW)
    _goals(notebook, found)
    for values, title in ((1, "One value a call"), (10, "Ten values a call")):
        _times(notebook, found, values, title)
    notebook.text(KILLED)
    _besides(notebook, there, found, imports)


def _turns(notebook: Notebook, there: Stage, found: Found) -> None:
    calls = notebook.size(40_000, 2_000)
    for number in range(notebook.size(7, 2)):
        notebook.say(f"steplog beside bare writes, round {number + 1}")
        for values in (1, 10):
            answer = there.run(CONTENDERS[0], "turns", values=values, calls=calls)
            for name, label in IN_TURNS.items():
                found.add(label, values, answer[name])


def _round(notebook: Notebook, there: Stage, found: Found, number: int) -> None:
    for contender in CONTENDERS:
        seconds = found.seconds.get(contender.label, 0)
        if contender.label in found.failed or seconds > ENOUGH_SECONDS:
            continue
        notebook.say(f"{contender.label}, round {number + 1}")
        start, counts = time.monotonic(), (1,) if number else (1, 10)
        options = {
            "calls": min(notebook.size(20_000, 100), contender.most_calls),
            "seconds": notebook.size(1.0, 0.3),
        }
        try:
            answers = {n: there.run(contender, "emit", values=n, **options) for n in counts}
        except Unavailable as error:
            found.failed[contender.label] = str(error)
            continue
        found.seconds[contender.label] = seconds + time.monotonic() - start
        found.whole.setdefault(contender.label, []).append(answers[1])
        for values, answer in answers.items():
            if contender.label != STEPLOG:  # it was measured in turns, with the bare write
                found.add(contender.label, values, answer["peer"])


def _kill(notebook: Notebook, there: Stage, found: Found, contender: Contender) -> None:
    """Measure what a kill leaves, if it can be read back at all: then all of a run that ended."""
    if contender.label in found.failed:
        return
    notebook.say(f"{contender.label}, killed")
    has_processes = any(one["processes"] for one in found.whole[contender.label])
    for what in ("end", "kill", "kill all"):
        if what == "kill all" and not has_processes:
            found.kept[contender.label][what] = found.kept[contender.label]["kill"]
            return
        try:
            kept = _kept_percent(notebook, there, contender, what)
        except Unavailable as error:
            found.unread[contender.label] = str(error)
            return
        if what == "end" and kept != 100:
            found.unread[contender.label] = f"of a run that ended, {kept:.0f} % can be read back"
            return
        if what != "end":
            found.kept.setdefault(contender.label, {})[what] = kept


def _kept_percent(notebook: Notebook, there: Stage, contender: Contender, what: str) -> float:
    with there.folder() as folder:
        options = {"calls": min(notebook.size(1_000, 100), contender.most_calls), "seconds": 0.5}
        calls = there.run_in(folder, contender, what, **options)
        return float(there.run_in(folder, contender, "count") / calls * 100)


def _imports(notebook: Notebook, there: Stage) -> dict[str, Measure]:
    """Return what importing each peer takes over a bare interpreter of its environment."""
    notebook.say("imports")
    found = {}
    for peer, environment in there.environments.items():
        if isinstance(environment, Environment):
            rounds = notebook.size(9 if peer == STEPLOG else 2, 1)
            taken = import_seconds(environment.python, MODULES.get(peer, peer), rounds)
            found[peer] = measure(taken, 1e3)
            notebook.versions |= environment.main_versions()
    return found


def _goals(notebook: Notebook, found: Found) -> None:
    for values, name in ((1, "one value"), (10, "ten values")):
        ratio, note = found.ratio(values, "median_us", BARE), _least(found, values)
        asks = f"median of {name}, bare write of the same line = 1"
        notebook.at_most(asks, 2.3, "times", ratio, note)
        ratio = found.ratio(values, "p999_us", BARE)
        notebook.at_most(f"p99.9 of {name}, the bare write's p99.9 = 1", 10, "times", ratio)
    ratio = found.ratio(1, "p999_us", BARE, "median_us")
    notebook.at_most("p99.9 of one value, the bare write's median = 1", 10, "times", ratio)
    durable = [label for label, kept in found.kept.items() if label != STEPLOG and _all(kept)]
    losing = [label for label, kept in found.kept.items() if label != STEPLOG and not _all(kept)]
    for labels, limit, kind in ((losing, 4, "loses data"), (durable, 10, "loses nothing")):
        label = min(labels, key=lambda one: _median(found, one), default="")
        ratio = found.ratio(1, "median_us", label)
        asks = f"faster than the fastest that {kind} at a SIGKILL ({label or 'none measured'})"
        notebook.at_least(asks, limit, "times", 1 / ratio if ratio else None)


def _least(found: Found, values: int) -> str:
    """Say what msgspec and the write alone take: less is not to be had with an encoding."""
    least = found.of(MSGSPEC, values, "median_us")
    ratio = statistics.median(map(_divide, least, found.of(BARE, values, "median_us")))
    return f"a bare msgspec encode and write takes {ratio:.3g} times"


def _all(kept: dict[str, float]) -> bool:
    return min(kept.values()) >= 100


def _median(found: Found, label: str) -> float:
    return statistics.median(found.of(label, 1, "median_us") or [float("inf")])


def _times(notebook: Notebook, found: Found, values: int, title: str) -> None:
    labels = sorted(_labels(), key=lambda label: _measured(found, label, values))
    rows = [
        Row(label, _cells(found, label, values), found.failed.get(label, "")) for label in labels
    ]
    columns = [*TIMES.values(), ("calls a round", "")]
    notebook.table(title, columns, rows)
    for quantity in ("median_us", "p99_us"):
        bars = [
            (label, measure(rounds))
            for label in labels
            if (rounds := found.of(label, values, quantity))
        ]
        name = TIMES[quantity][0]
        notebook.bars(f"{name}-{values}", f"{title}: {name}", "µs a call", bars, log=True)


def _labels() -> list[str]:
    return [BARE, MSGSPEC, *(contender.label for contender in CONTENDERS)]


def _measured(found: Found, label: str, values: int) -> float:
    return statistics.median(found.of(label, values, "median_us") or [float("inf")])


def _cells(found: Found, label: str, values: int) -> tuple[Measure | None, ...]:
    columns = (found.of(label, values, quantity) for quantity in (*TIMES, "calls"))
    return tuple(measure(rounds) if rounds else None for rounds in columns)


def _besides(notebook: Notebook, there: Stage, found: Found, imports: dict[str, Measure]) -> None:
    """Add what a kill leaves, and what a peer brings into a task."""
    rows = []
    for contender in CONTENDERS:
        environment = there.environments[contender.peer]
        packages = len(environment.packages) if isinstance(environment, Environment) else None
        whole = found.whole.get(contender.label, [])
        kept = found.kept.get(contender.label, {})
        cells = (
            _one(kept.get("kill")),
            _one(kept.get("kill all")),
            _one(packages),
            imports.get(contender.peer),
            *(_many(whole, name) for name in ("start_seconds", "finish_seconds")),
            *(_many(whole, name) for name in ("threads", "processes")),
        )
        note = found.failed.get(contender.label) or found.unread.get(contender.label, "")
        rows.append(Row(contender.label, cells, note))
    columns = [
        ("kept after SIGKILL", "%"),
        ("with its helpers", "%"),
        ("packages", ""),
        ("import", "ms"),
        ("start of a run", "s"),
        ("end of a run", "s"),
        ("threads started", ""),
        ("processes started", ""),
    ]
    notebook.table("What a kill leaves, and what comes with it", columns, rows)


def _one(value: float | None) -> Measure | None:
    return None if value is None else measure([value])


def _many(rounds: Iterable[dict[str, Any]], name: str) -> Measure | None:
    values = [one[name] for one in rounds]
    return measure(values) if values else None


def _divide(one: float, other: float) -> float:
    return one / other


if __name__ == "__main__":
    ask(1, "Emit", "What does a call cost in a task's own process, and is it kept?", emit)
