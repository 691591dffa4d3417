"""How fast a run of 50,000 points reaches MLflow on SQLite, beside a bare loop of `log_batch`."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

from steplog.decoding import decode
from steplogd.core.fold import Fold
from steplogd.delivery.courier import Courier
from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions
from steplogd.store.cursors import Cursors
from steplogd.store.database import Database
from steplogd.store.run_logs import RunLogs

STEPS = 5_000
METRICS = 10
ROUNDS = 5
BATCH = 1_000


def main() -> None:
    """Alternate between both, each into a store of its own; print rates and their ratio."""
    ours, bare = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            bare.append(bare_loop(Path(folder)))
        with tempfile.TemporaryDirectory() as folder:
            ours.append(delivered(Path(folder)))
    points = STEPS * METRICS
    ratio = statistics.median(bare) / statistics.median(ours)
    print(f"bare log_batch(1000): {points / statistics.median(bare):,.0f} points a second")
    print(f"delivered: {points / statistics.median(ours):,.0f} points a second, ratio {ratio:.2f}")


def bare_loop(folder: Path) -> float:
    """Return the seconds that a loop of `log_batch` takes, its metrics made within the loop."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    run_id = client.create_run("0").info.run_id
    start = time.perf_counter()
    for first in range(0, STEPS, BATCH // METRICS):
        batch = [
            Metric(f"metric_{m}", step / 7 + m, 1_795_449_203_490 + step, step)
            for step in range(first, first + BATCH // METRICS)
            for m in range(METRICS)
        ]
        client.log_batch(run_id, batch)
    return time.perf_counter() - start


def delivered(folder: Path) -> float:
    """Return the seconds from a folded run to all of it acknowledged by the backend."""
    database = Database(folder / "steplog.db")
    run_logs = RunLogs(database)
    run = run_logs.load("run")
    fold = Fold(run.state)
    fold.apply(decode(spool()), 1)
    run_logs.commit([(run, fold.take_changes())])
    backend = MlflowBackend(MlflowOptions(), folder)
    courier = Courier("mlflow", backend, Cursors(database))
    courier.advance(run.run_no)  # the first batch also makes the run, and the store
    start = time.perf_counter()
    while courier.advance(run.run_no):
        pass
    seconds = time.perf_counter() - start
    courier.close()
    return seconds * STEPS * METRICS / (STEPS * METRICS - BATCH)


def spool() -> bytes:
    """Return the lines of the run."""
    line = '{"t":"track","ts":%d,"step":%d,"values":{%s}}\n'
    return "".join(
        line
        % (
            1_795_449_203_490_342 + step * 1000,
            step,
            ",".join(f'"metric_{m}":{step / 7 + m!r}' for m in range(METRICS)),
        )
        for step in range(STEPS)
    ).encode()


if __name__ == "__main__":
    main()
