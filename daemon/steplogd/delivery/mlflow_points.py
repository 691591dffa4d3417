"""What MLflow should hold of a run, and what it holds, as points that can be compared.

A metric is a point for each time and step, in milliseconds, as MLflow keeps them: doubles, with no
infinity and one zero. A param is the text that it shows; a document beside it stands for the value
that it has whole, as a digest. Only what is ours is read: our tags, and our folder of documents.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steplog.values import from_json, load
from steplogd.delivery import mlflow_integers as integers
from steplogd.delivery.contract import Point
from steplogd.delivery.mlflow_entities import (
    MAX_TAG,
    NAME_TAG_PREFIX,
    Layout,
    Names,
    fit,
    keep_name,
    lay_out,
    lay_out_parameters,
)
from steplogd.delivery.value_forms import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlflow.tracking import MlflowClient

    from steplogd.delivery.contract import Observation, RunInfo

MESSAGE_TAG: Final = "steplog.message"
"""The tag that says why a run failed."""

DOCUMENTS_TAG: Final = "steplog.documents"
"""The tag with the folder of a run's documents: a metric cannot say by itself that it has one."""

DOCUMENTS: Final = "steplog"
"""That folder, among the run's artifacts."""

_UNREADABLE: Final = "a document that cannot be read"


def final_state(run: RunInfo) -> tuple[str, int | None]:
    """Return what MLflow calls the run's status, and its end in milliseconds, if it has ended."""
    if run.end_ts is None or run.status == "PROCESSING":
        return "RUNNING", None
    failed = "KILLED" if run.killed else "FAILED"
    return "FINISHED" if run.status == "SUCCESS" else failed, as_ms(run.end_ts)


def as_ms(ts: int) -> int:
    """Return a time of a run as MLflow keeps it, which takes 0 for none and puts in its own."""
    return max(ts // 1000, 1)


def of_observations(batch: Iterable[Observation], names: Names) -> Iterator[Point]:
    """Say what MLflow should hold of these observations."""
    for seen in batch:
        value = seen.value
        if value.__class__ is float:  # nearly all: the way that is quick
            name = names.of(seen.task, seen.key)
            yield Point("metric", name, seen.step, seen.ts // 1000, _number(value))
        else:
            yield from _of_layout(lay_out((seen,), names), names)
        if names.changed:
            yield from _of_cut_names(names)


def of_state(run: RunInfo, names: Names) -> Iterator[Point]:
    """Say what MLflow should hold of the run itself; a run that goes on has no end to compare."""
    for key, value in run.parameters.items():
        yield from _of_layout(lay_out_parameters({key: value}, names), names)
    yield from _of_cut_names(names)
    status, end_ms = final_state(run)
    yield Point("run", "status", value=status)
    yield Point("run", MESSAGE_TAG, value=fit(run.message, MAX_TAG, "the run log")[0])
    if end_ms is not None:
        yield Point("run", "end_time", value=str(end_ms))


def held(client: MlflowClient, mlflow_id: str) -> Iterator[Point]:
    """Read back what MLflow holds; one metric's history lies in memory at a time."""
    run = client.get_run(mlflow_id)
    yield Point("run", "status", value=run.info.status)
    if run.info.end_time is not None:
        yield Point("run", "end_time", value=str(run.info.end_time))
    yield Point("run", MESSAGE_TAG, value=run.data.tags.get(MESSAGE_TAG, ""))
    for name, text in run.data.tags.items():
        if name.startswith(NAME_TAG_PREFIX):
            yield Point("run", name, value=text)
    for name, text in run.data.params.items():
        yield Point("parameter", name, value=text)
    for name in run.data.metrics:
        for seen in client.get_metric_history(mlflow_id, name):
            yield Point("metric", name, seen.step, seen.timestamp, _number(seen.value))
    if DOCUMENTS_TAG in run.data.tags:
        yield from _held_documents(client, mlflow_id)


def _held_documents(client: MlflowClient, mlflow_id: str) -> Iterator[Point]:
    if not client.list_artifacts(mlflow_id, DOCUMENTS):
        return
    names = Names()
    with tempfile.TemporaryDirectory(prefix="steplog-") as folder:
        top = Path(client.download_artifacts(mlflow_id, DOCUMENTS, folder))
        for file in sorted(top.rglob("*.json*")):
            path = f"{DOCUMENTS}/{file.relative_to(top).as_posix()}"
            content = file.read_bytes()
            if path.startswith(f"{integers.FOLDER}/"):
                yield from _of_lines(content.splitlines(), names)
            else:
                yield Point("parameter", path, value=_digest(content))


def _of_layout(layout: Layout, names: Names) -> Iterator[Point]:
    for seen in layout.metrics:
        yield Point("metric", seen.key, seen.step, seen.timestamp, _number(seen.value))
    for name, text in layout.params.items():
        yield Point("parameter", name, value=text)
    documents = layout.documents_of(set(layout.params))
    for path, content in documents.items():
        yield Point("parameter", path, value=_digest(content))
    yield from _of_lines(map(integers.line_of, layout.integers), names)


def _of_cut_names(names: Names) -> Iterator[Point]:
    layout = Layout()
    for name, mapped in names.changed.items():
        if tag := keep_name(name, mapped, layout):
            yield Point("run", tag[0], value=tag[1])
    names.changed.clear()
    for path, content in layout.documents.items():
        yield Point("parameter", path, value=_digest(content))


def _of_lines(lines: Iterable[bytes], names: Names) -> Iterator[Point]:
    for line in lines:
        try:
            seen = load(line)
            name = names.of(tuple(seen["task"]), seen["key"])
            value = shown(from_json(seen["value"]))
            name = f"{name} in {integers.FOLDER}"
            yield Point("metric", name, seen["step"], seen["ts"] // 1000, value)
        except (ValueError, TypeError, KeyError):  # half a line, which a crash left
            continue


def _number(value: float) -> str:
    """Return a number as MLflow gives it back: it clamps infinities, and databases drop -0.0."""
    if math.isinf(value):
        return repr(math.copysign(sys.float_info.max, value))
    return repr(float(value) + 0.0)


def _digest(document: bytes) -> str:
    """Return what tells whole values apart: who tracked an equal value last is no difference."""
    try:
        content: dict[str, Any] = load(document)
        text = json.dumps(content["value"] if "value" in content else content["name"])
    except (ValueError, TypeError, KeyError):
        return _UNREADABLE
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()} of {len(text)} characters"
