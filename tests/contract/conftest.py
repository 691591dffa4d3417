"""The trackers that the contract tests run against, each with a way to read back what arrived."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from steplog.values import from_json, load

from steplogd.delivery.contract import Observation, RunInfo
from steplogd.delivery.memory import MemoryBackend, MemoryOptions
from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions
from steplogd.delivery.mlflow_names import digest_in, full_name, original_name

MLFLOW_WARNINGS = ["ignore:The ``noload`` loader strategy:DeprecationWarning"]
"""What MLflow itself does that its libraries warn of."""

START_TS = 1_795_449_203_490_342
"""When the tests' runs began, in microseconds since the epoch."""


def pytest_configure(config):
    for line in MLFLOW_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


def make_run(run_id=None, **fields):
    """Build a run that goes on, of an id that no other test uses."""
    plain = {"tag": "", "status": "PROCESSING", "killed": False, "message": ""}
    times = {"start_ts": START_TS, "end_ts": None, "parameters": {}}
    return RunInfo(run_id=run_id or f"run-{uuid.uuid4().hex}", **(plain | times | fields))


def make_batch(values, *, key="loss", task=("train",), first=1):
    """Build observations of one key, one step and one second after the other."""
    return [
        Observation(first + i, task, 1, key, i, START_TS + (first + i) * 1_000_000, value)
        for i, value in enumerate(values)
    ]


@dataclass
class Arrived:
    """What a tracker holds of a run, in the same form for all of them.

    Attributes:
        numbers: Milliseconds and values by name and step.
        others: Whole values as text, by name and step.
        parameters: Whole values as text, by name.
        runs: How many runs of this id there are.
    """

    numbers: dict[tuple[str, int], list[tuple[int, float | str]]] = field(default_factory=dict)
    others: dict[tuple[str, int], str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    status: str = ""
    start_ms: int = 0
    end_ms: int | None = None
    runs: int = 1


def comparable(value):
    """Return a number as every tracker can give it back: MLflow has no infinities."""
    if math.isnan(value):
        return "NaN"
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else float(value)


def expected_numbers(batch):
    """Return what `Arrived.numbers` should be after a batch of numbers."""
    numbers = {}
    for seen in batch:
        place = (full_name(seen.task, seen.key), seen.step)
        numbers.setdefault(place, []).append((seen.ts // 1000, comparable(seen.value)))
    return numbers


def as_text(value):
    """Return a value as Python users expect it in a param."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)


class MemoryStore:
    """The tracker in memory."""

    def __init__(self, home):
        self._home = home

    def backend(self):
        """Connect anew, as after a restart."""
        return MemoryBackend(MemoryOptions(), self._home)

    def read(self, run_id):
        """Return what arrived of a run."""
        run = MemoryBackend.tracker_of(self._home).runs[run_id]
        seen = run.observations.values()
        numbers = [x for x in seen if type(x.value) in (int, float)]
        others = {(full_name(x.task, x.key), x.step): as_text(x.value) for x in seen}
        info = run.settled
        return Arrived(
            numbers=expected_numbers(numbers),
            others={place: text for place, text in others.items() if not _is_in(numbers, place)},
            parameters={name: as_text(value) for name, value in info.parameters.items()},
            status=info.status if not info.killed else "KILLED",
            start_ms=info.start_ts // 1000,
            end_ms=info.end_ts and info.end_ts // 1000,
        )


def _is_in(numbers, place):
    return place in {(full_name(x.task, x.key), x.step) for x in numbers}


class MlflowStore:
    """MLflow, read back through its own client."""

    STATUSES = {"RUNNING": "PROCESSING", "FINISHED": "SUCCESS", "FAILED": "FAIL"}

    def __init__(self, home, server_url=""):
        self._home = home
        self._url = server_url

    def backend(self):
        """Connect anew, as after a restart."""
        return MlflowBackend(MlflowOptions(server_url=self._url), self._home)

    @property
    def client(self):
        """MLflow's own client."""
        from mlflow.tracking import MlflowClient

        return MlflowClient(self._url or f"sqlite:///{self._home / 'mlflow.db'}")

    def runs(self, run_id):
        """Return all MLflow runs that stand for a run, those that were deleted too."""
        from mlflow.entities import ViewType

        places = [e.experiment_id for e in self.client.search_experiments(ViewType.ALL)]
        wanted = f"tags.`steplog.run_id` = '{run_id}'"
        return list(self.client.search_runs(places, wanted, run_view_type=ViewType.ALL))

    def read(self, run_id):
        """Return what arrived of a run."""
        runs = self.runs(run_id)
        run = runs[0]
        arrived = Arrived(runs=len(runs), start_ms=run.info.start_time, end_ms=run.info.end_time)
        arrived.status = self.STATUSES.get(run.info.status, run.info.status)
        for name in run.data.metrics:
            for point in self.client.get_metric_history(run.info.run_id, name):
                place = (self._original(run, name), point.step)
                value = (point.timestamp, comparable(point.value))
                arrived.numbers.setdefault(place, []).append(value)
        for name, value in run.data.params.items():
            self._add_param(arrived, run, name, self._whole(run, value))
        return arrived

    def _add_param(self, arrived, run, name, text):
        stem, _, step = name.rpartition("_")
        if re.fullmatch(r"-?\d+", step):
            arrived.others[self._original(run, stem), int(step)] = text
        else:
            arrived.parameters[self._original(run, name)] = text

    def _original(self, run, name):
        digest = digest_in(name)
        return run.data.tags[f"steplog.name.{digest}"] if digest else original_name(name)

    def _whole(self, run, text):
        cut = re.search(r"… \[steplog: .* whole in (.*)\]$", text)
        return as_text(from_json(self.document(run, cut[1])["value"])) if cut else text

    def document(self, run, path):
        """Return one of the run's artifacts, decoded."""
        return load(Path(self.client.download_artifacts(run.info.run_id, path)).read_bytes())


@pytest.fixture(scope="session")
def mlflow_sqlite(tmp_path_factory):
    """MLflow embedded, on an SQLite database."""
    return MlflowStore(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """A real `mlflow server` on this machine, with SQLite behind it."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with _running(_server_command(folder, port), folder):
        _wait_until_healthy(url)
        yield MlflowStore(folder, url)


def _server_command(folder, port):
    store = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    artifacts = ["--artifacts-destination", str(folder / "artifacts")]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *where, *store, *artifacts]


@contextlib.contextmanager
def _running(command, folder):
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | quiet,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its workers can be ended with it
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _wait_until_healthy(url):
    import requests
    from urllib3.util import Retry

    patient = Retry(total=None, connect=400, read=0, backoff_factor=0.1, backoff_max=0.2)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=patient))
        session.get(f"{url}/health", timeout=10).raise_for_status()


@pytest.fixture(params=["mlflow_sqlite", "mlflow_server"])
def mlflow_store(request):
    """Each way to reach MLflow, in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["memory", "mlflow_sqlite", "mlflow_server"])
def store(request, tmp_path):
    """Each tracker, in turn."""
    if request.param == "memory":
        return MemoryStore(tmp_path)
    return request.getfixturevalue(request.param)
