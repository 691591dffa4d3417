"""What becomes of a run in MLflow, embedded and behind a server, as its own client reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from structlog.testing import capture_logs

from steplogd.delivery.contract import Refused, Unavailable
from tests.contract.trackers import (
    START_TS,
    expected_numbers,
    give_up_the_next_upload,
    make_batch,
    make_run,
    only_run,
)

if TYPE_CHECKING:
    from steplogd.delivery.mlflow import MlflowBackend
    from tests.contract.trackers import MlflowStore

END_TS = START_TS + 60_000_000


@pytest.fixture
def backend(mlflow_store: MlflowStore) -> MlflowBackend:
    """Connect to MLflow."""
    return mlflow_store.backend()


def test_a_run_without_a_tag_lies_in_default(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """Its name is its id, and a tag makes it findable."""
    run = make_run()

    backend.open(run)

    found = only_run(mlflow_store, run)
    assert mlflow_store.client.get_experiment(found.info.experiment_id).name == "Default"
    assert run.run_id == found.info.run_name == found.data.tags["steplog.run_id"]
    assert found.info.status == "RUNNING"


@pytest.mark.parametrize("tag", ["{}", "a b/c % {}", "t\n{}", "{}" + "t" * 600])
def test_the_tag_is_the_experiment(
    backend: MlflowBackend, mlflow_store: MlflowStore, tag: str
) -> None:
    """Any tag: one that cannot be an experiment's name is whole in a tag of the run."""
    run = make_run()
    tag = tag.format(run.run_id)
    one, other = make_run(tag=tag), make_run(tag=tag)

    for run in (one, other):
        backend.open(run)

    runs = [only_run(mlflow_store, run) for run in (one, other)]
    (experiment,) = {found.info.experiment_id for found in runs}
    if len(tag) < 100 and tag.isprintable():
        assert mlflow_store.client.get_experiment(experiment).name == tag
    assert [found.data.tags["steplog.tag"] for found in runs] == [tag, tag]


@pytest.mark.parametrize("number", [2**53 + 1, -(2**64) + 1, 10**400, -(10**5000)], ids="abcd")
def test_an_integer_that_no_double_holds_is_whole_in_a_document(
    backend: MlflowBackend, mlflow_store: MlflowStore, number: int
) -> None:
    """The metric has the nearest double, if there is one; sent again, all stays the same."""
    run = make_run()
    batch = make_batch([1, number])

    for _ in range(2):
        backend.open(run).send(batch)

    found = only_run(mlflow_store, run)
    (line,) = mlflow_store.integers(found)
    assert len(mlflow_store.client.get_metric_history(found.info.run_id, "loss")) == 2
    assert line == msgspec.structs.asdict(batch[1]) | {"task": ["train"]}
    assert found.data.tags["steplog.documents"] == "steplog"


def test_many_integers_that_no_double_holds_leave_a_document_for_each_batch(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """Nanoseconds at each step: the same batch is the same document, another cut is one more."""
    run = make_run()
    batch = make_batch([time_ns | 1 for time_ns in range(2**60, 2**60 + 5_000, 2)])
    session = backend.open(run)

    for start in (*range(0, 2500, 500), 0, 300):
        session.send(batch[start : start + 500])

    found = only_run(mlflow_store, run)
    documents = mlflow_store.client.list_artifacts(found.info.run_id, "steplog/integers")
    assert len(documents) == 6
    assert [x.value for x in batch] == [x["value"] for x in mlflow_store.integers(found)]


def test_a_document_of_integers_that_comes_late_takes_nothing_away(
    backend: MlflowBackend, mlflow_store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was stopped may do minutes later what was given up and done again since."""
    run = make_run()
    batch = [*make_batch([2**60 + 1]), *make_batch([2**60 + 3, 2**60 + 5], key="x/%", first=2)]
    session = backend.open(run)
    late = give_up_the_next_upload(monkeypatch, mlflow_store)
    with pytest.raises(Unavailable):
        session.send(batch[:1])

    for seen in batch:
        session.send([seen])
    late()

    found = only_run(mlflow_store, run)
    assert [x.value for x in batch] == [x["value"] for x in mlflow_store.integers(found)]


def test_half_a_line_that_a_crash_left_is_no_hindrance(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """It is sent again."""
    run = make_run()
    batch = make_batch([2**60 + 1, 2**60 + 3])
    backend.open(run).send(batch)
    found = only_run(mlflow_store, run)
    (document,) = mlflow_store.client.list_artifacts(found.info.run_id, "steplog/integers")
    mlflow_store.append(found, document.path, b'{"position":2,"ta')

    backend.open(run).send(batch[1:])

    assert [x.value for x in batch] == [x["value"] for x in mlflow_store.integers(found)]


def test_an_integer_that_a_double_holds_needs_no_document(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """However large it is."""
    run = make_run()

    backend.open(run).send(make_batch([2**53, 2**80]))

    found = only_run(mlflow_store, run)
    assert mlflow_store.client.list_artifacts(found.info.run_id) == []
    assert found.data.metrics["loss"] == 2**80


def test_a_long_text_says_that_it_was_cut_and_where_it_is_whole(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """A param takes 6,000 characters."""
    run = make_run()

    backend.open(run).send(make_batch(["x" * 7000], key="spam"))

    found = only_run(mlflow_store, run)
    text = found.data.params["spam_0"]
    document = mlflow_store.document(found, "steplog/values/spam_0.json")
    assert len(text) == 6000
    assert text.endswith("whole in steplog/values/spam_0.json]")
    assert document["value"] == "x" * 7000


def test_characters_that_a_database_refuses_are_shown_escaped(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """PostgreSQL takes no NUL, and UTF-8 no half of a surrogate pair; the document has both."""
    run = make_run()

    backend.open(run).send(make_batch(["a\0b\ud800"], key="spam"))

    found = only_run(mlflow_store, run)
    assert found.data.params["spam_0"].startswith("a\\x00b\\ud800… [steplog: 4 characters")
    assert mlflow_store.document(found, "steplog/values/spam_0.json")["value"] == "a\0b\ud800"


def test_two_long_texts_that_begin_alike_are_not_taken_for_one(backend: MlflowBackend) -> None:
    """The second would change the param, and is refused."""
    session = backend.open(make_run())
    one, other = ("x" * 7000 + end for end in "ab")
    session.send(make_batch([one], key="spam"))

    with pytest.raises(Refused, match="spam_0"):
        session.send(make_batch([other], key="spam", first=2))


def test_a_changed_param_is_refused_after_all_the_rest_arrived(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """The reason names it, with its old value and its new one."""
    run = make_run()
    session = backend.open(run)
    session.send(make_batch(["old"], key="spam"))
    others = make_batch(["a", "b"], key="eggs", first=3)
    numbers = make_batch([1.0, 2.0], first=5)

    with pytest.raises(Refused, match="'spam_0' is 'old' and cannot be changed to 'new'"):
        session.send([*make_batch(["new"], key="spam", first=2), *others, *numbers])

    arrived = mlflow_store.read(run.run_id)
    assert arrived.others == {("spam", 0): "old", ("eggs", 0): "a", ("eggs", 1): "b"}
    assert expected_numbers(numbers) == arrived.numbers


@pytest.mark.parametrize(("task", "attempt"), [("evaluate", 1), ("train", 2)])
def test_tasks_and_attempts_share_a_metric(
    backend: MlflowBackend, mlflow_store: MlflowStore, task: str, attempt: int
) -> None:
    """Each has its own points, also at the same step."""
    run = make_run()
    first = make_batch([1.0, 2.0])
    other = make_batch([3.0, 4.0], first=3, task=(task,), attempt=attempt)

    backend.open(run).send(first + other)

    assert expected_numbers(first + other) == mlflow_store.read(run.run_id).numbers


@pytest.mark.parametrize(("task", "attempt"), [("evaluate", 1), ("train", 2)])
def test_tasks_and_attempts_share_a_param(
    backend: MlflowBackend, mlflow_store: MlflowStore, task: str, attempt: int
) -> None:
    """An equal value is the same again, another one is refused: the run log has both."""
    run = make_run()
    session = backend.open(run)
    session.send(make_batch(["a", "b"], key="spam"))
    other = make_batch(["a", "c"], key="spam", first=3, task=(task,), attempt=attempt)

    session.send(other[:1])
    with pytest.raises(Refused, match="'spam_1' is 'b' and cannot be changed to 'c'"):
        session.send(other[1:])

    assert mlflow_store.read(run.run_id).others == {("spam", 0): "a", ("spam", 1): "b"}


def test_two_values_for_one_param_in_one_batch_leave_the_first(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """As if they had come one after the other."""
    run = make_run()
    twice = make_batch(["a"], key="spam") + make_batch(["b"], key="spam", first=2)

    with pytest.raises(Refused, match="'spam_0' is 'a' and cannot be changed to 'b'"):
        backend.open(run).send(twice)

    assert mlflow_store.read(run.run_id).others == {("spam", 0): "a"}


def test_a_changed_parameter_is_refused_after_the_run_was_settled(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """New parameters, status and times are in MLflow by then."""
    run = make_run()
    session = backend.open(run)
    session.settle(make_run(run.run_id, parameters={"lr": 0.1}))
    changed = {"lr": 0.2, "depth": 3}

    with pytest.raises(Refused, match=r"'lr' is '0\.1' and cannot be changed to '0\.2'"):
        session.settle(make_run(run.run_id, status="SUCCESS", end_ts=END_TS, parameters=changed))

    arrived = mlflow_store.read(run.run_id)
    assert arrived.parameters == {"lr": "0.1", "depth": "3"}
    assert (arrived.status, arrived.end_ms) == ("SUCCESS", END_TS // 1000)


def test_why_a_run_failed_is_a_tag_as_long_as_it_is_true(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """A run that goes on and succeeds has no reason any more."""
    run = make_run()
    session = backend.open(run)

    session.settle(make_run(run.run_id, status="FAIL", end_ts=END_TS, message="no\nspace"))
    failed = only_run(mlflow_store, run).data.tags["steplog.message"]
    backend.open(run).settle(make_run(run.run_id, status="SUCCESS", end_ts=END_TS))

    assert failed == "no\nspace"
    assert only_run(mlflow_store, run).data.tags["steplog.message"] == ""


def test_names_that_changed_are_said_once(backend: MlflowBackend) -> None:
    """One line for a run, however many observations there are, and none for other names."""
    session = backend.open(make_run())

    with capture_logs() as said:
        session.send(make_batch([1.0, 2.0], key="loss%"))
        session.send(make_batch([3.0], key="loss%", first=3))
        session.send(make_batch([3.0], key="loss", first=4))

    assert [line["names"] for line in said] == [{"loss%": "loss_x25_"}]


def test_a_name_too_long_for_a_tag_is_whole_in_a_document(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """A line of a spool holds far longer ones."""
    run = make_run()
    key = "k" * 9000

    backend.open(run).send(make_batch([1.0], key=key))

    found = only_run(mlflow_store, run)
    (tag,) = [name for name in found.data.tags if name.startswith("steplog.name.")]
    path = f"steplog/names/{tag.removeprefix('steplog.name.')}.json"
    assert key == mlflow_store.document(found, path)["name"]
    assert found.data.tags[tag].endswith(f"whole in {path}]")


def test_a_name_is_kept_whole_also_when_its_first_batch_failed(
    backend: MlflowBackend, mlflow_store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What undoes a name is not forgotten between two tries."""
    run = make_run()
    session = backend.open(run)
    batch = make_batch([1.0], key="k" * 9000)
    with monkeypatch.context() as broken:
        broken.setattr("mlflow.tracking.MlflowClient.log_artifacts", lambda *_: 1 / 0)
        with pytest.raises(Unavailable):
            session.send(batch)

    session.send(batch)

    found = only_run(mlflow_store, run)
    documents = mlflow_store.client.list_artifacts(found.info.run_id, "steplog/names")
    assert len(documents) == 1


def test_many_params_arrive_in_as_many_calls_as_it_takes(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """MLflow takes 100 at once; and long ones are large."""
    run = make_run()
    batch = make_batch([f"{i}" + "é" * 5900 for i in range(250)], key="spam")

    backend.open(run).send(batch)

    assert {("spam", x.step): x.value for x in batch} == mlflow_store.read(run.run_id).others


def test_a_run_that_was_deleted_is_not_brought_back(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """Neither is a second one made; what was not sent arrives when somebody restores it."""
    run = make_run()
    session = backend.open(run)
    mlflow_id = only_run(mlflow_store, run).info.run_id
    mlflow_store.client.delete_run(mlflow_id)

    with pytest.raises(Refused, match=f"mlflow runs restore --run-id {mlflow_id}"):
        backend.open(run)
    with pytest.raises(Unavailable, match="Restore it in MLflow"):
        session.send(make_batch([1.0]))
    mlflow_store.client.restore_run(mlflow_id)
    session.send(make_batch([1.0]))

    assert expected_numbers(make_batch([1.0])) == mlflow_store.read(run.run_id).numbers


def test_a_deleted_experiment_is_not_brought_back(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """Its runs wait; both those that are in it, and those that would be."""
    run = make_run()
    run = make_run(run.run_id, tag=run.run_id)
    backend.open(run)
    experiment = only_run(mlflow_store, run).info.experiment_id
    mlflow_store.client.delete_experiment(experiment)

    for waiting in (run, make_run(tag=run.tag)):
        with pytest.raises(Refused, match=f"experiments restore --experiment-id {experiment}"):
            backend.open(waiting)


def test_a_run_made_twice_by_a_lost_answer_becomes_one(
    backend: MlflowBackend, mlflow_store: MlflowStore
) -> None:
    """The one with values stays; the empty one goes to MLflow's bin."""
    run = make_run()
    backend.open(run).send(make_batch([1.0]))
    ours = only_run(mlflow_store, run).info
    twin = mlflow_store.client.create_run(
        ours.experiment_id, tags={"steplog.run_id": run.run_id}, start_time=START_TS // 1000
    )

    backend.open(run).send(make_batch([2.0], first=2))

    stages = {x.info.run_id: x.info.lifecycle_stage for x in mlflow_store.runs(run.run_id)}
    assert {ours.run_id: "active", twin.info.run_id: "deleted"} == stages
