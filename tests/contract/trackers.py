"""What the contract tests send, and a way to read back from each tracker what arrived."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from steplog.values import from_json, load, map_from_json
from steplogd.delivery.contract import Observation, RunInfo
from steplogd.delivery.memory import MemoryBackend, MemoryOptions
from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions, embedded_uri
from steplogd.delivery.mlflow_integers import FOLDER
from steplogd.delivery.mlflow_names import digest_in, original_name
from steplogd.delivery.naming import full_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pytest
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from steplogd.delivery.contract import Backend

STATUSES = {"RUNNING": "PROCESSING", "FINISHED": "SUCCESS", "FAILED": "FAIL"}
"""What MLflow's statuses mean to us."""

Numbers: TypeAlias = dict[tuple[str, int], list[tuple[int, float | str]]]
"""Milliseconds and values by name and step."""

START_TS = 1_795_449_203_490_342
"""When the tests' runs began, in microseconds since the epoch."""


def make_run(run_id: str | None = None, **fields: Any) -> RunInfo:
    """Build a run that goes on, of an id that no other test uses."""
    plain = RunInfo(
        run_id=run_id or f"run-{uuid.uuid4().hex}",
        tag="",
        status="PROCESSING",
        killed=False,
        message="",
        start_ts=START_TS,
        end_ts=None,
        parameters={},
    )
    return msgspec.structs.replace(plain, **fields)


def make_batch(
    values: Iterable[object],
    *,
    key: str = "loss",
    task: tuple[str, ...] = ("train",),
    first: int = 1,
    attempt: int = 1,
) -> list[Observation]:
    """Build observations of one key, one step and one second after the other."""
    return [
        Observation(first + i, task, attempt, key, i, START_TS + (first + i) * 1_000_000, value)
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

    numbers: Numbers = field(default_factory=dict)
    others: dict[tuple[str, int], str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    status: str = ""
    start_ms: int = 0
    end_ms: int | None = None
    runs: int = 1


def comparable(value: float) -> float | str:
    """Return a number as every tracker can give it back: MLflow has no infinities."""
    if math.isnan(value):
        return "NaN"
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else float(value)


def expected_numbers(batch: Iterable[Observation]) -> Numbers:
    """Return what `Arrived.numbers` should be after a batch of numbers."""
    numbers: Numbers = {}
    for seen in batch:
        place = (full_name(seen.task, seen.key), seen.step)
        numbers.setdefault(place, []).append((seen.ts // 1000, comparable(seen.value)))
    return numbers


def as_text(value: object) -> str:
    """Return a value as Python users expect it in a param."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)


class Store(Protocol):
    """A tracker, and a way to read back what arrived there."""

    def backend(self) -> Backend:
        """Connect anew, as after a restart."""

    def read(self, run_id: str) -> Arrived:
        """Return what arrived of a run."""


class MemoryStore:
    """The tracker in memory."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def backend(self) -> MemoryBackend:
        """Connect anew, as after a restart."""
        return MemoryBackend(MemoryOptions(), self._home)

    def read(self, run_id: str) -> Arrived:
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


def _is_in(numbers: Sequence[Observation], place: tuple[str, int]) -> bool:
    return place in {(full_name(x.task, x.key), x.step) for x in numbers}


class MlflowStore:
    """MLflow, read back through its own client."""

    def __init__(self, home: Path, server_url: str = "") -> None:
        self._home = self.folder = home
        self.url = server_url

    def backend(self) -> MlflowBackend:
        """Connect anew, as after a restart."""
        return MlflowBackend(MlflowOptions(server_url=self.url), self._home)

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client."""
        from mlflow.tracking import MlflowClient

        return MlflowClient(self.url or embedded_uri(self._home))

    def runs(self, run_id: str) -> list[Run]:
        """Return all MLflow runs that stand for a run, those that were deleted too."""
        from mlflow.entities import ViewType

        places = [e.experiment_id for e in self.client.search_experiments(ViewType.ALL)]
        wanted = f"tags.`steplog.run_id` = '{run_id}'"
        return list(self.client.search_runs(places, wanted, run_view_type=ViewType.ALL))

    def read(self, run_id: str) -> Arrived:
        """Return what arrived of a run."""
        runs = self.runs(run_id)
        run = runs[0]
        arrived = Arrived(runs=len(runs), start_ms=run.info.start_time, end_ms=run.info.end_time)
        arrived.status = STATUSES.get(run.info.status, run.info.status)
        for name in run.data.metrics:
            for point in self.client.get_metric_history(run.info.run_id, name):
                place = (self._original(run, name), point.step)
                seen = (point.timestamp, comparable(point.value))
                arrived.numbers.setdefault(place, []).append(seen)
        for name, text in run.data.params.items():
            self._add_param(arrived, run, name, self._whole(run, text))
        return arrived

    def _add_param(self, arrived: Arrived, run: Run, name: str, text: str) -> None:
        stem, _, step = name.rpartition("_")
        if re.fullmatch(r"-?\d+", step):
            arrived.others[self._original(run, stem), int(step)] = text
        else:
            arrived.parameters[self._original(run, name)] = text

    def _original(self, run: Run, name: str) -> str:
        original = original_name(name)
        if original is None:
            original = run.data.tags[f"steplog.name.{digest_in(name)}"]
        return original

    def _whole(self, run: Run, text: str) -> str:
        cut = re.search(r"… \[steplog: .* whole in (.*)\]$", text)
        return as_text(from_json(self.document(run, cut[1])["value"])) if cut else text

    def document(self, run: Run, path: str) -> dict[str, Any]:
        """Return one of the run's artifacts, decoded."""
        document: dict[str, Any] = load(self._artifact(run, path))
        return document

    def integers(self, run: Run) -> list[dict[str, Any]]:
        """Return the lines that keep integers whole, decoded, in the order of the run log.

        One that came again, in another cut, is one.
        """
        files = [file.path for file in self.client.list_artifacts(run.info.run_id, FOLDER)]
        lines = [line for path in files for line in self._artifact(run, path).splitlines()]
        whole = [line for line in dict.fromkeys(lines) if line.endswith(b"}")]
        return sorted(map(map_from_json, whole), key=itemgetter("position"))

    def append(self, run: Run, path: str, more: bytes) -> None:
        """Add something to the end of one of the run's artifacts."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as local:
            file = Path(local, name)
            file.write_bytes(self._artifact(run, path) + more)
            self.client.log_artifact(run.info.run_id, str(file), folder)

    def _artifact(self, run: Run, path: str) -> bytes:
        return Path(self.client.download_artifacts(run.info.run_id, path)).read_bytes()


def give_up_the_next_upload(patching: pytest.MonkeyPatch, store: MlflowStore) -> Callable[[], None]:
    """Let the next upload fail for its caller; what is returned does it after all."""
    later: list[tuple[str, Path]] = []

    def keep(_: MlflowClient, mlflow_id: str, folder: str) -> None:
        patching.undo()
        kept = Path(tempfile.mkdtemp(prefix="late-"))
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        later.append((mlflow_id, kept))
        raise TimeoutError

    def do() -> None:
        for mlflow_id, folder in later:
            store.client.log_artifacts(mlflow_id, str(folder))
            shutil.rmtree(folder)

    patching.setattr("mlflow.tracking.MlflowClient.log_artifacts", keep)
    return do


def only_run(store: MlflowStore, run: RunInfo) -> Run:
    """Return the one MLflow run that stands for a run."""
    (found,) = store.runs(run.run_id)
    return found
