"""Clients that deliver runs to MLflow; each measurement is one call in a process that is kept."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.delivery.points import metrics, spool

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio import Event
    from mlflow import MlflowClient

    from steplogd.delivery.exporter import Exporter
    from steplogd.store.cursors import Cursors

PATIENCE_SECONDS: Final = 150.0
_NAME: Final = "mlflow"


class Load(NamedTuple):
    """What is delivered, and to where.

    Attributes:
        server_url: The server; "" is a new SQLite database within the client's process.
        runs: How many runs.
        batches: How many thousand points each of them has.
    """

    server_url: str
    runs: int
    batches: int


class Taken(NamedTuple):
    """What it took: seconds, and processor seconds of the client's process."""

    seconds: float
    cpu_seconds: float


def bare(load: Load, threads: int) -> Taken:
    """Call `log_batch(1000)` in loops, a run in one thread from its beginning to its end."""

    def log(client: MlflowClient, run_id: str) -> None:
        for batch in metrics(load.batches):
            client.log_batch(run_id, batch)

    def log_all(client: MlflowClient, run_ids: list[str]) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda run_id: log(client, run_id), run_ids))

    return _with_client(load, log_all)


def asynchronous(load: Load) -> Taken:
    """Let MLflow log in its own threads, and wait until all is there."""

    def log_all(client: MlflowClient, run_ids: list[str]) -> None:
        waiting = [
            client.log_batch(run_id, batch, synchronous=False)
            for run_id in run_ids
            for batch in metrics(load.batches)
        ]
        for one in waiting:
            if one is not None:  # nothing to log
                one.wait()  # type: ignore[no-untyped-call]

    return _with_client(load, log_all)


def steplog(load: Load) -> Taken:
    """Let the daemon's exporter deliver what is folded, until the last acknowledgement."""
    import anyio

    from steplog.decoding import decode
    from steplogd.core.fold import Fold
    from steplogd.delivery.courier import Courier
    from steplogd.delivery.exporter import Exporter
    from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions
    from steplogd.store.cursors import Cursors
    from steplogd.store.database import Database
    from steplogd.store.run_logs import RunLogs

    with tempfile.TemporaryDirectory() as name:
        if not load.server_url:
            Path(name, "mlflow.db").write_bytes(_empty_database())
        database = Database(Path(name, "steplog.db"))
        run_logs, cursors = RunLogs(database), Cursors(database)
        backend = MlflowBackend(MlflowOptions(server_url=load.server_url), Path(name))
        courier = Courier(_NAME, backend, cursors)
        lines = spool(load.batches)
        for number in range(load.runs):
            # Servers keep the runs of all rounds.
            run = run_logs.load(f"run-{number}-{time.time_ns()}")
            fold = Fold(run.state)
            fold.apply(decode(lines), 1)
            run_logs.commit([(run, fold.take_changes())])
            courier.advance(run.run_no)  # makes the run, as the others do before the clock starts
        exporter = Exporter(_NAME, courier, cursors, backend.limits.parallel_runs)
        taken = _timed(lambda: anyio.run(_deliver, exporter, cursors))
        courier.close()
    return taken


async def _deliver(exporter: Exporter, cursors: Cursors) -> None:
    import anyio

    stop: Event = anyio.Event()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exporter.run, stop)
            await exporter.is_idle.wait()
            stop.set()
    left = cursors.backlog(_NAME)
    if left.observations or left.dead_letters:
        raise RuntimeError(f"not all was delivered: {left}")


def _with_client(load: Load, log_all: Callable[[MlflowClient, list[str]], None]) -> Taken:
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        if not load.server_url:
            path.write_bytes(_empty_database())
        client = MlflowClient(load.server_url or f"sqlite:///{path}")
        run_ids = [client.create_run("0").info.run_id for _ in range(load.runs)]
        return _timed(lambda: log_all(client, run_ids))


@functools.cache
def _empty_database() -> bytes:
    """Return MLflow's tables, which it takes seconds to make, in an SQLite database."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        MlflowClient(f"sqlite:///{path}").search_experiments()
        with contextlib.closing(sqlite3.connect(path)) as database:
            return database.serialize()


def _timed(work: Callable[[], None]) -> Taken:
    start, used = time.perf_counter(), time.process_time()
    work()
    return Taken(time.perf_counter() - start, time.process_time() - used)
