"""What the contract tests send, and a way to read back from each tracker what arrived."""

from __future__ import annotations

import json
import math
import re
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from steplog.values import from_json, load
from steplogd.delivery.contract import Observation, RunInfo
from steplogd.delivery.memory import MemoryBackend, MemoryOptions
from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions
from steplogd.delivery.mlflow_names import digest_in, full_name, original_name

STATUSES = {"RUNNING": "PROCESSING", "FINISHED": "SUCCESS", "FAILED": "FAIL"}
"""What MLflow's statuses mean to us."""

START_TS = 1_795_449_203_490_342
"""When the tests' runs began, in microseconds since the epoch."""


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
        arrived.status = STATUSES.get(run.info.status, run.info.status)
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
