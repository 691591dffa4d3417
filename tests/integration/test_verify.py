"""MLflow, broken on purpose: what `steplogd verify` names, and what `steplogd replay` heals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import steplog
from tests.conftest import wait_until
from tests.contract.trackers import MlflowStore
from tests.daemon import configure, rows, serving, steplogd

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.entities import Run

    from tests.zygote import Process


@dataclass
class Place:
    """A home whose backend is MLflow, and MLflow itself.

    Attributes:
        home: The home.
        store: MLflow, through its own client.
        database: The SQLite file of MLflow.
        config: The configuration file.
    """

    home: Path
    store: MlflowStore
    database: Path
    config: str

    def steplogd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return steplogd(*arguments, "--config", self.config)

    def drain(self) -> None:
        """Deliver all."""
        drained = self.steplogd("drain", "--timeout", "100")
        assert drained.returncode == 0, drained.stderr

    def verify(self, *arguments: str) -> dict[str, Any]:
        """Return what is said of the one backend; the exit status is checked against it."""
        shown = self.steplogd("verify", "--json", *arguments)
        told = json.loads(shown.stdout)
        assert shown.returncode == (0 if told["equal"] else 1)
        (verdict,) = told["backends"]
        return dict(verdict)

    def differences(self, *arguments: str) -> list[tuple[Any, ...]]:
        """Return what differs, and check that nothing else is wrong."""
        verdict = self.verify(*arguments)
        assert (verdict["error"], verdict["runs_behind"]) == ("", 0)
        names = ("run_id", "name", "step", "expected", "found")
        return [tuple(found[name] for name in names) for found in verdict["differences"]]

    def run(self, run_id: str) -> Run:
        """Return the MLflow run that stands for a run."""
        (found,) = self.store.runs(run_id)
        return found

    def write(self, sql: str, run_id: str) -> None:
        """Change MLflow's own database behind its back; the MLflow run is the first parameter."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=20)) as connection:
            assert connection.execute(sql, (self.run(run_id).info.run_id,)).rowcount > 0
            connection.commit()

    def lose(self, run_id: str) -> None:
        """Have MLflow lose a run for good."""
        mlflow_id = self.run(run_id).info.run_id
        tables = ("metrics", "latest_metrics", "params", "tags", "inputs", "runs")
        with contextlib.closing(sqlite3.connect(self.database, timeout=20)) as connection:
            for table in tables:
                key = "destination_id" if table == "inputs" else "run_uuid"
                connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (mlflow_id,))
            connection.commit()


@pytest.fixture
def embedded(home: Path) -> Place:
    """Give a home with MLflow embedded in it."""
    config = configure(home, '[[backend]]\ntype = "mlflow"\n')
    return Place(home, MlflowStore(home), home / "mlflow.db", config)


@pytest.fixture(params=["embedded", "server"])
def place(request: pytest.FixtureRequest, home: Path) -> Place:
    """Give a home with MLflow, embedded and behind a real server, in turn."""
    if request.param == "embedded":
        embedded: Place = request.getfixturevalue("embedded")
        return embedded
    store: MlflowStore = request.getfixturevalue("mlflow_server")
    config = configure(home, f'[[backend]]\ntype = "mlflow"\nserver_url = "{store.url}"\n')
    return Place(home, store, store._home / "server.db", config)


def train(*run_ids: str, steps: int = 5, **values: Any) -> None:
    """Track some runs."""
    for run_id in run_ids:
        with (
            steplog.start_run(run_id, tag="verified", parameters={"lr": 0.1}) as run,
            steplog.task("train"),
        ):
            for step in range(steps):
                run.track_this(step=step, loss=1 / (step + 1))
            run.track_this(text="words", **values)


def unique(place: Place, *names: str) -> list[str]:
    """Return run ids that no other test on the same server uses."""
    return [f"{name}-{os.getpid()}-{abs(hash(place.home))}" for name in names]


def test_what_was_broken_is_named_and_nothing_else(place: Place) -> None:
    """Points that are lost, changed or added, a param, a status, and whole runs."""
    ids = unique(place, "lost", "changed", "added", "param", "status", "deleted", "gone", "whole")
    lost, changed, added, param, status, deleted, gone, whole = ids
    train(*ids)
    place.drain()
    assert place.differences() == []
    place.write("DELETE FROM metrics WHERE run_uuid = ? AND step = 3", lost)
    place.write("UPDATE metrics SET value = 0.75 WHERE run_uuid = ? AND step = 2", changed)
    client = place.store.client
    client.log_metric(place.run(added).info.run_id, "loss", 9.5, timestamp=7, step=9)
    client.log_metric(place.run(added).info.run_id, "of somebody else", 9.5)
    place.write("UPDATE params SET value = '0.2' WHERE run_uuid = ? AND key = 'lr'", param)
    client.set_terminated(place.run(status).info.run_id, "FAILED")
    client.delete_run(place.run(deleted).info.run_id)
    place.lose(gone)

    found = place.differences()

    ends = [difference for difference in found if difference[1] == "end_time"]
    assert [difference[0] for difference in ends] == [status]
    assert len(found) == 8
    assert set(found) - set(ends) == {
        (lost, "loss", 3, "0.25", None),
        (changed, "loss", 2, repr(1 / 3), "0.75"),
        (added, "loss", 9, None, "9.5"),
        (param, "lr", 0, "0.1", "0.2"),
        (status, "status", 0, "FINISHED", "FAILED"),
        (deleted, deleted, 0, None, None),
        (gone, gone, 0, None, None),
    }
    assert place.differences(whole) == []


def test_a_replay_heals_what_was_lost(place: Place) -> None:
    """Points, params, the status, and whole runs, be they one of them or all."""
    lost, gone = unique(place, "lost", "gone")
    train(lost, gone)
    place.drain()
    place.write("DELETE FROM metrics WHERE run_uuid = ?", lost)
    place.write("DELETE FROM latest_metrics WHERE run_uuid = ?", lost)
    place.write("DELETE FROM params WHERE run_uuid = ?", lost)
    place.store.client.set_terminated(place.run(lost).info.run_id, "FAILED")
    place.lose(gone)

    replayed = place.steplogd("replay", "mlflow", lost)
    then = place.differences(lost)
    place.steplogd("replay", "mlflow")

    assert (replayed.returncode, replayed.stdout) == (0, "mlflow: 1 run sent again\n")
    assert then == []
    assert place.differences() == []


def test_a_replay_while_a_daemon_delivers_loses_nothing(place: Place) -> None:
    """Its sessions are stale, its batches in flight, and the runs go on."""
    gone, other = unique(place, "gone", "other")
    train(gone)
    with serving(place.home, "--config", place.config):
        with steplog.start_run(other, tag="verified") as run:
            wait_until(lambda: bool(rows(place.home, "SELECT 1 FROM cursor WHERE position > 3")))
            place.lose(gone)
            for step in range(3000):
                run.track_this(step=step, loss=0.5)
            replayed = place.steplogd("replay", "mlflow", "--timeout", "100")
        place.drain()

        assert replayed.returncode == 0, replayed.stderr
        assert place.differences() == []
        assert len(place.store.runs(gone)) == 1


def test_a_killed_replay_goes_on_with_the_next_daemon(embedded: Place) -> None:
    """The command itself is killed, then the daemon that took it over."""
    train("r", steps=6000)
    embedded.drain()
    embedded.lose("r")
    arguments = [sys.executable, "-m", "steplogd", "replay", "mlflow", "--config", embedded.config]
    command = subprocess.Popen(arguments)
    wait_until(lambda: rows(embedded.home, "SELECT replay FROM cursor") == [(1,)])
    kill_after(embedded, command, 1000)

    with serving(embedded.home, "--config", embedded.config) as daemon:
        kill_after(embedded, daemon, 3000)
    embedded.drain()

    assert embedded.differences() == []
    assert len(embedded.store.runs("r")) == 1


def kill_after(place: Place, process: Process, position: int) -> None:
    """Kill a process once so much is delivered."""
    where = f"SELECT 1 FROM cursor WHERE position >= {position}"
    wait_until(lambda: bool(rows(place.home, where)))
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_dead_letters_are_taken_after_the_repair(embedded: Place) -> None:
    """Params that somebody changed in MLflow, where nothing changes them back."""
    train("r")
    embedded.drain()
    embedded.write("UPDATE params SET value = 'other' WHERE run_uuid = ?", "r")
    replayed = embedded.steplogd("replay", "mlflow")
    with serving(embedded.home, "--config", embedded.config):
        refused = embedded.steplogd("dead-letters", "retry")
        state, letter = json.loads(embedded.steplogd("dead-letters", "--json").stdout)
        text, parameter = embedded.verify()["differences"]
        embedded.write("DELETE FROM params WHERE run_uuid = ?", "r")
        taken = embedded.steplogd("dead-letters", "retry", "--backend", "mlflow", "--run", "r")

    assert replayed.stdout.endswith("mlflow: 2 refused again; see `steplogd dead-letters`\n")
    assert refused.stdout == "2 dead letters sent once more: 0 taken, 2 refused\n"
    assert (refused.returncode, taken.returncode) == (1, 0)
    assert (state["position"], letter["key"], letter["value"]) == (0, "text", "words")
    assert (text["expected"], text["found"]) == ("words", "other")
    assert text["reason"] == f"dead letter: {letter['reason']}"
    assert (parameter["expected"], parameter["found"]) == ("0.1", "other")
    assert parameter["reason"] == f"dead letter: {state['reason']}"
    assert taken.stdout == "2 dead letters sent once more: 2 taken, 0 refused\n"
    assert embedded.differences() == []


def test_a_tracker_out_of_reach_is_told(home: Path) -> None:
    """In the time that one request takes, and not for every run again."""
    train("r")
    good = configure(home, '[[backend]]\ntype = "mlflow"\n')
    assert steplogd("drain", "--config", good).returncode == 0
    bad = configure(home, '[[backend]]\ntype = "mlflow"\nserver_url = "http://127.0.0.1:1"\n')

    told = steplogd("verify", "--config", bad)

    assert told.returncode == 1
    assert told.stdout.startswith("mlflow: cannot be read: MLflow could not find the run: ")
    assert "Traceback" not in told.stdout + told.stderr


def test_a_daemon_serves_while_its_backend_is_read(place: Place) -> None:
    """What comes meanwhile is behind at most, and never a difference."""
    (run_id,) = unique(place, "r")
    with serving(place.home, "--config", place.config):
        with steplog.start_run(run_id, tag="verified") as run:
            for step in range(20_000):
                run.track_this(step=step, loss=0.5)
            wait_until(lambda: bool(rows(place.home, "SELECT 1 FROM cursor WHERE position > 0")))
            verdict = place.verify()
        place.drain()

        assert (verdict["differences"], verdict["error"]) == ([], "")
        assert place.differences() == []
