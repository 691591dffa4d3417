"""What the daemon takes at rest, with many open runs, and how soon it serves after its start."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import resource
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.frame.answer import Row
from benchmarks.frame.daemon import (
    BEGINNING,
    POINT,
    Daemon,
    Look,
    new_home,
    serving,
    wait_until,
)
from benchmarks.frame.folding import fold_all, line_over
from benchmarks.frame.processes import descriptor_count, memory_mb, thread_count
from benchmarks.frame.question import Notebook, ask
from benchmarks.frame.spread import measure
from steplog.home import database_path
from steplogd.logs.log import set_up_log
from steplogd.store.database import Database
from steplogd.store.documents import Documents
from steplogd.store.holding import give_back, take
from steplogd.store.run_logs import RunLogs

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAVING: Final = '{"t":"leave","w":"9f3ac1","n":%d,"ts":1795449203490343,"status":"SUCCESS"}\n'
COUNT: Final = "SELECT count(*) FROM run"
SETTLE_SECONDS: Final = 5.0

HOW: Final = """\
An open run is one that somebody is in: its spool's lock is held by a process that lives. Nothing
is written, no backend is configured. Processor time is the scheduler's, of all threads. "Start-up"
lasts from the start of the process to the line "serving" of its log, its imports included."""


def rest(notebook: Notebook) -> None:
    """Measure at rest, then starts."""
    set_up_log(logging.WARNING)  # each run that ends here would be a line
    counts = notebook.size((0, 1_000, 5_000), (0, 10))
    rows, cpu, memory = [], {}, {}
    for count in counts:
        notebook.say(f"at rest with {count:,} open runs")
        with new_home() as home, serving(home) as daemon, open_runs(home, count):
            cpu[count] = cpu_percent(daemon, notebook.size(20.0, 1.0))
            memory[count] = memory_mb(daemon.process)
            cells = [cpu[count], memory[count], descriptor_count(daemon.process)]
            cells.append(thread_count(daemon.process))
        rows.append(Row(f"{count:,} open runs", tuple(measure([cell]) for cell in cells)))
    columns = [
        ("processor", "% of a core"),
        ("resident", "MB"),
        ("descriptors", ""),
        ("threads", ""),
    ]
    notebook.table("At rest", columns, rows)
    notebook.at_most("1,000 open runs at rest, processor", 0.5, "% of a core", cpu.get(1_000))
    notebook.at_most("1,000 open runs at rest, resident", 60, "MB", memory.get(1_000))
    _starts(notebook)
    notebook.version("anyio", "inotify_simple", "msgspec", "structlog")
    notebook.text(HOW)


def _starts(notebook: Notebook) -> None:
    rounds = notebook.size(5, 1)
    finished = notebook.size(10_000, 20)
    backlog = notebook.size(1_000_000_000, 1_000_000)
    notebook.say("start-up")
    with new_home() as home:
        empty = start_seconds(home, rounds)
    with new_home() as home:
        write_finished(home, finished)
        fold_finished(home)
        after = start_seconds(home, rounds)
    with new_home() as home:
        write_backlog(home, backlog)
        behind = start_seconds(home, 1)
    rows = [
        Row("an empty home", (measure(empty),)),
        Row(f"{finished:,} finished runs", (measure(after),)),
        Row(f"{backlog / 1e9:g} GB of backlog", (measure(behind),), "once: it is folded then"),
    ]
    notebook.table("Start-up", [("until it serves", "s")], rows)
    notebook.at_most(f"start-up with {finished:,} finished runs", 1, "s", statistics.median(after))


@contextlib.contextmanager
def open_runs(home: Path, count: int) -> Iterator[None]:
    """Be in so many runs, in each as a writer is that lives; all are folded when it begins."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 256, hard), hard))
    with contextlib.ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for number in range(count):
            path = home / "spool" / f"run-{number}.jsonl"
            spool = held.enter_context(path.open("ab", buffering=0))
            fcntl.flock(spool, fcntl.LOCK_SH)
            spool.write((BEGINNING + POINT % (2, 0, 0.5)).encode())
        with Look(home / "steplog.db", COUNT) as look:
            wait_until(lambda: look.number() == count, pause_seconds=0.1)
        yield


def cpu_percent(daemon: Daemon, seconds: float) -> float:
    """Return the share of a core that a daemon takes, once it has settled."""
    time.sleep(min(SETTLE_SECONDS, seconds))
    start, before = time.perf_counter(), _cpu_seconds(daemon.process)
    time.sleep(seconds)
    return (_cpu_seconds(daemon.process) - before) / (time.perf_counter() - start) * 100


def start_seconds(home: Path, rounds: int) -> list[float]:
    """Return how long each of some starts takes."""
    taken = []
    for _ in range(rounds):
        with serving(home) as daemon:
            taken.append(daemon.ready_seconds)
    return taken


def write_finished(home: Path, count: int) -> None:
    """Write the spools of runs that somebody was in, and left."""
    text = BEGINNING + "".join(POINT % (n, n, n / 7) for n in range(2, 12)) + LEAVING % 12
    for number in range(count):
        (home / "spool" / f"run-{number}.jsonl").write_text(text, "utf-8")


def fold_finished(home: Path) -> None:
    """Fold them, as a daemon that was stopped left them; their documents count as written.

    To write 10,000 would take longer than all that is asked here.
    """
    database = Database(database_path(home))
    take(database, dict)
    _run_logs, documents = RunLogs(database), Documents(database)
    line = line_over(home, database, grace_seconds=0.0)
    fold_all(line)
    for _ in range(2):
        line.end_runs(time.monotonic(), time.time())
    for run in documents.outdated():
        documents.written(run.run_no, run.position, run.revision)
    give_back(database)
    database.close()


def write_backlog(home: Path, size: int, spools: int = 20) -> None:
    """Write spools of about so many bytes together, that nobody has folded."""
    block = "".join(POINT % (n, n, n / 7) for n in range(2, 8_192)).encode()
    for number in range(spools):
        with (home / "spool" / f"run-{number}.jsonl").open("wb") as spool:
            for _ in range(max(size // spools // len(block), 1)):
                spool.write(block)


def _cpu_seconds(process: int) -> float:
    """Return the processor time of all threads, in nanoseconds precise, unlike that in ticks."""
    found = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(path.read_bytes().split()[0]) for path in found) / 1e9


if __name__ == "__main__":
    ask(7, "At rest", "What does the daemon take while nothing happens?", rest)
