"""What every backend that can be read back says it should hold, and holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest

from steplogd.core.comparison import Comparison, Mismatch
from steplogd.delivery.contract import Point, ReadableBackend, Refused
from tests.contract.trackers import START_TS, make_batch, make_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steplogd.delivery.contract import Observation, RunInfo
    from steplogd.delivery.mlflow import MlflowBackend
    from tests.contract.trackers import MlflowStore, Store

END_TS = START_TS + 60_000_000


def compare(
    store: Store, run: RunInfo, batch: Sequence[Observation]
) -> tuple[list[Mismatch[Point]], int]:
    """Read a run back on a new connection; return what differs, and how many points do not."""
    backend = store.backend()
    assert isinstance(backend, ReadableBackend)
    session = backend.look(run)
    assert session is not None
    comparison: Comparison[Point] = Comparison()
    for seen in batch:
        comparison.expect(session.expected([seen]), seen.position)
    comparison.expect(session.expected_state(run))
    for point in session.held():
        comparison.hold(point)
    return list(comparison.mismatches()), comparison.met


def everything() -> list[Observation]:
    """Build observations of all kinds, at many steps, under names of all kinds."""
    numbers = [0.5, -0.0, math.nan, math.inf, -math.inf, 1e308, 5e-324, 0.1 + 0.2, 3, -7]
    whole = [2**53 + 1, 2**63, -(10**400), 10**5000]
    texts = ["", "läuft\n", "x" * 7000, "a\0b", True, None, [1, math.nan], {"a": {"b": "y" * 7000}}]
    batch = make_batch([*numbers, *whole], key="loss")
    for key in ("loss%", "k" * 300, "n" * 9000, "a//b", ".."):
        batch += make_batch([0.5, "text"], key=key, first=len(batch) + 1)
    batch += make_batch(texts, key="spam", first=len(batch) + 1)
    batch += make_batch([1.0], task=("outer", "inner"), first=len(batch) + 1)
    steps = [-(2**63), -1, 2**53 + 1, 2**63 - 1]
    extreme = make_batch([0.25] * len(steps), key="far", first=len(batch) + 1)
    return batch + [
        msgspec.structs.replace(seen, step=step) for seen, step in zip(extreme, steps, strict=True)
    ]


def ended(run: RunInfo, **fields: object) -> RunInfo:
    """Return the run at its end."""
    return msgspec.structs.replace(run, status="SUCCESS", end_ts=END_TS, **fields)


def deliver(store: Store, run: RunInfo, batch: Sequence[Observation]) -> None:
    """Send all of a run."""
    session = store.backend().open(run)
    session.send(batch)
    session.settle(run)


def test_all_that_was_sent_is_what_it_should_hold(store: Store) -> None:
    """Values of all kinds, parameters, and how it ended."""
    batch = everything()
    run = ended(make_run(parameters={"lr": 0.1, "k%": [1], "long": "z" * 7000}), message="é" * 9000)

    deliver(store, run, batch)
    mismatches, met = compare(store, run, batch)

    assert mismatches == []
    assert met >= len(batch)


def test_a_run_that_goes_on_again_is_what_it_should_hold(store: Store) -> None:
    """Though MLflow keeps the end that it had."""
    run = make_run()

    deliver(store, ended(run), [])
    deliver(store, run, [])

    assert compare(store, run, [])[0] == []


def test_what_came_twice_is_what_it_should_hold(store: Store) -> None:
    """A tracker may merge what is equal in all; another time is another point."""
    first, second = make_batch([0.5, 0.5])
    later = msgspec.structs.replace(second, step=0)
    same = msgspec.structs.replace(first, position=3)

    run = ended(make_run())
    deliver(store, run, [first, later, same])

    assert compare(store, run, [first, later, same])[0] == []


def test_more_points_than_a_page_of_any_tracker_are_read(mlflow_store: MlflowStore) -> None:
    """MLflow's pages have 25,000."""
    batch = make_batch([i / 7 for i in range(26_000)])
    run = make_run()
    session = mlflow_store.backend().open(run)
    for start in range(0, len(batch), 1000):
        session.send(batch[start : start + 1000])

    mismatches, met = compare(mlflow_store, run, batch)

    assert (mismatches, met >= len(batch)) == ([], True)


def test_what_was_not_sent_is_what_differs(store: Store) -> None:
    """And nothing else."""
    run = ended(make_run())
    batch = everything()
    lost = [seen for seen in batch if seen.position % 5 == 0]

    deliver(store, run, [seen for seen in batch if seen.position % 5])
    mismatches, _ = compare(store, run, batch)

    assert {seen.position for seen in lost} == {mismatch.position for mismatch in mismatches}
    assert all(mismatch.found is None for mismatch in mismatches)


def test_to_look_for_a_run_makes_none(store: Store) -> None:
    """There is none afterwards either."""
    backend, run = store.backend(), make_run()
    assert isinstance(backend, ReadableBackend)

    found = [backend.look(run), backend.look(run)]

    assert found == [None, None]


@pytest.fixture
def backend(mlflow_store: MlflowStore) -> MlflowBackend:
    """Connect to MLflow."""
    return mlflow_store.backend()


def test_a_run_in_mlflows_bin_is_out_of_reach(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """The reason says how it comes back."""
    run = make_run()
    backend.open(run)
    (found,) = mlflow_store.runs(run.run_id)
    mlflow_store.client.delete_run(found.info.run_id)

    with pytest.raises(Refused, match="mlflow runs restore"):
        backend.look(run)


def test_what_else_is_logged_in_mlflow_is_none_of_ours(mlflow_store: MlflowStore) -> None:
    """Metrics, params, tags and artifacts of the task's own client."""
    run = ended(make_run(parameters={"lr": 0.1}))
    batch = make_batch([0.5, "text", 2**70 + 1])
    deliver(mlflow_store, run, batch)
    client, (found,) = mlflow_store.client, mlflow_store.runs(run.run_id)
    client.log_metric(found.info.run_id, "system/cpu", 0.5)
    client.log_param(found.info.run_id, "max_depth", "3")
    client.set_tag(found.info.run_id, "mlflow.autologging", "sklearn")
    client.log_dict(found.info.run_id, {"a": 1}, "steplog/values/other.json")
    client.log_dict(found.info.run_id, {"a": 1}, "model/MLmodel.json")

    assert compare(mlflow_store, run, batch)[0] == []


@pytest.mark.parametrize(
    ("folder", "content"),
    [("steplog/values", {"value": "z"}), ("steplog/integers", {})],
)
def test_a_document_that_was_changed_differs(
    mlflow_store: MlflowStore, folder: str, content: dict[str, str]
) -> None:
    """Though the param, or the metric, is as it was."""
    run = ended(make_run())
    batch = make_batch([2**70 + 1, "x" * 7000])
    deliver(mlflow_store, run, batch)
    (found,) = mlflow_store.runs(run.run_id)
    (file,) = mlflow_store.client.list_artifacts(found.info.run_id, folder)
    text = msgspec.json.encode(content).decode()
    mlflow_store.client.log_text(found.info.run_id, text, file.path)

    (mismatch,) = compare(mlflow_store, run, batch)[0]

    assert mismatch.expected is not None
    assert folder in mismatch.expected.name
