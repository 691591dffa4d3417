"""What holds of every run log that the original can write: imported and folded, it comes back."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from steplog.decoding import decode
from steplog.events import KnownEvent
from steplog.importing.conversion import spool_lines
from steplog.importing.metrics import is_by_step
from steplog.importing.shape import as_run_log
from steplog.run_log import write_run_log
from steplogd.core.fold import Fold
from steplogd.core.state import RunState
from steplogd.store.database import Database
from steplogd.store.run_logs import FoldedRun, RunLogs
from tests.lines import ARRIVED_TS

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="."), min_size=1)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
maps = st.dictionaries(texts, values, max_size=3)
statuses = st.sampled_from(["SUCCESS", "FAIL"])
moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(
    lambda time: time.replace(microsecond=time.microsecond or 1)  # else the original writes none
)
by_step = st.dictionaries(st.integers(-(2**63), 2**63 - 1), values, min_size=2, max_size=4).map(
    lambda found: {str(step): found[step] for step in sorted(found)}
)
metrics = st.dictionaries(texts, values.filter(lambda one: not is_by_step(one)) | by_step)


def record(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return dicts of these fields in this order; Hypothesis' own have any order."""
    return st.tuples(*fields.values()).map(lambda drawn: dict(zip(fields, drawn, strict=True)))


codes = record(
    {
        "code_identifier": texts,
        "code_identifier_type": st.sampled_from(["git", "docker"]),
        "code_identifier_dependable": st.booleans(),
        "code_identifier_url": texts,
        "code_identifier_message": texts,
    }
)
entries = record(
    {
        "name": names,
        "data_hash": texts,
        "catalog_relative_path": texts,
        "catalog_handler_location": texts,
        "stage": st.sampled_from(["get", "put"]),
    }
)
RUN_CONFIG = (
    "executor run_log_store secrets_handler catalog_handler experiment_tracker pipeline_file "
    "parameters_file configuration_file tag run_id variables use_cached original_run_id dag "
    "dag_hash execution_plan"
).split()


@st.composite
def attempts(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """Draw an attempt that ended; only one that failed has a message."""
    start, duration, status = draw(moments), draw(st.timedeltas(timedelta(0))), draw(statuses)
    end = start + min(duration, timedelta(days=1))
    end = end.replace(microsecond=end.microsecond or 1)
    return {
        "attempt_number": number,
        "start_time": str(start),
        "end_time": str(end),
        "duration": str(end - start),
        "status": status,
        "message": draw(texts) if status == "FAIL" else "",
        "parameters": draw(maps),
    }


@st.composite
def steps(draw: st.DrawFn, name: str, step_type: str) -> dict[str, Any]:
    """Draw a step without branches: skipped, or with attempts, the last of which says how it is."""
    is_skipped = draw(st.booleans())
    count = draw(st.integers(0 if is_skipped else 1, 3))
    tried = [draw(attempts(number)) for number in range(1, count + 1)]
    last = tried[-1] if tried else {"status": "SUCCESS", "message": ""}
    return {
        "name": name,
        "internal_name": name,
        "status": last["status"],
        "step_type": step_type,
        "message": last["message"],
        "mock": is_skipped,
        "code_identities": draw(codes.map(lambda code: [code]) | st.just([])),
        "attempts": tried,
        "user_defined_metrics": draw(metrics) if tried else {},
        "branches": {},
        "data_catalog": sorted(
            draw(st.lists(entries, max_size=3, unique_by=lambda entry: entry["name"])),
            key=lambda entry: entry["name"].encode(),
        ),
    }


@st.composite
def run_logs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the run log of a run that ended in its terminal step."""
    status = draw(statuses)
    end = "success" if status == "SUCCESS" else "fail"
    own = draw(st.lists(names.filter(lambda name: name != end), max_size=3, unique=True))
    found = {name: draw(steps(name, draw(st.sampled_from(["task", "stub"])))) for name in own}
    of_run = {"dag_hash": draw(st.none() | texts), "use_cached": draw(st.booleans())}
    of_run |= {"tag": draw(texts), "original_run_id": draw(texts)}
    config = {name: draw(values) for name in RUN_CONFIG} | of_run | {"run_id": "r"}
    return {
        "run_id": "r",
        **of_run,
        "status": status,
        "steps": {**found, end: draw(steps(end, end))},
        "parameters": draw(maps),
        "run_config": config,
    }


def shown(document: dict[str, Any]) -> str:
    """Import a document, fold it and print it, as the commands do."""
    lines = b"".join(spool_lines(as_run_log(document), "w", ARRIVED_TS))
    folding = Fold(RunState("r"))
    folding.apply(decode(lines), ARRIVED_TS)
    folding.end_run()
    pieces: list[str] = []
    with tempfile.TemporaryDirectory() as home:
        database = Database(Path(home) / "steplog.db")
        RunLogs(database).commit([(FoldedRun(0, folding.state, 0), folding.take_changes())])
        write_run_log(Path(home), "r", pieces.append)
        database.close()
    return "".join(pieces)


def written(value: Any) -> Any:
    """Return a value as the run log prints it, where JSON has no name for it."""
    if isinstance(value, float) and value - value != 0.0:
        names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        return names[repr(value)]
    if isinstance(value, dict):
        return {name: written(one) for name, one in value.items()}
    return [written(one) for one in value] if isinstance(value, list) else value


@settings(max_examples=75, deadline=None)
@given(run_logs())
def test_a_run_log_of_the_original_comes_back_as_it_was(document: dict[str, Any]) -> None:
    """Same text: keys, order, types, times, statuses, whatever the values are."""
    assert json.dumps(written(document), indent=4) + "\n" == shown(document)


@given(run_logs())
def test_every_line_of_an_imported_run_is_an_event(document: dict[str, Any]) -> None:
    """Numbered without gaps; none is torn, unknown or malformed."""
    events = decode(b"".join(spool_lines(as_run_log(document), "w", ARRIVED_TS)))

    assert all(isinstance(event, KnownEvent) for event in events)
    assert list(range(len(events))) == [event.n for event in events]  # type: ignore[union-attr]
