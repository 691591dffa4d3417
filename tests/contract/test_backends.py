"""What every backend does, whatever tracker it speaks to."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import pytest

from steplogd.delivery.contract import CheckableBackend
from tests.contract.trackers import START_TS, as_text, expected_numbers, make_batch, make_run

if TYPE_CHECKING:
    from steplogd.delivery.contract import Observation, RunInfo, Session
    from tests.contract.trackers import Store

END_TS = START_TS + 60_000_000


def deliver(store: Store, run: RunInfo, *batches: list[Observation]) -> Session:
    """Open a run on a new connection, and send it some batches."""
    session = store.backend().open(run)
    for batch in batches:
        session.send(batch)
    return session


def test_numbers_arrive_with_their_own_steps_and_times(store: Store) -> None:
    """Ints and floats, more than one batch of them."""
    run = make_run()
    batch = make_batch([i / 7 if i % 2 else i for i in range(2500)])

    deliver(store, run, batch[:1000], batch[1000:2000], batch[2000:])

    assert expected_numbers(batch) == store.read(run.run_id).numbers


def test_a_tracker_that_is_well_says_so(store: Store) -> None:
    """Where it can be asked; a backend need not be."""
    backend = store.backend()
    if not isinstance(backend, CheckableBackend):
        pytest.skip("it cannot be asked")

    remarks = list(backend.check())

    assert remarks
    assert [remark for remark in remarks if remark.mend or not remark.text] == []


def test_what_is_sent_again_changes_nothing(store: Store) -> None:
    """An answer that was lost makes the exporter send once more, in other cuts, after a restart."""
    run = make_run()
    batch = [*make_batch([0.5, 2, math.nan]), *make_batch(["a", True, {"b": 1}], key="x", first=4)]
    deliver(store, run, batch[:3], batch[3:])
    before = store.read(run.run_id)

    deliver(store, run, batch, batch[2:5])

    assert before == store.read(run.run_id)


def test_one_batch_may_hold_the_same_observation_twice(store: Store) -> None:
    """Nothing in the contract forbids it."""
    run = make_run()
    batch = [*make_batch([0.5, 1.5]), *make_batch(["a", None], key="x", first=3)]

    deliver(store, run, batch + batch)

    arrived = store.read(run.run_id)
    assert expected_numbers(batch[:2]) == arrived.numbers
    assert arrived.others == {("x", 0): "a", ("x", 1): "None"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0, 0])
def test_extreme_numbers_arrive(store: Store, value: object) -> None:
    """Beside others, which arrive too."""
    run = make_run()
    batch = make_batch([1.0, value, 2.0])

    deliver(store, run, batch)

    assert expected_numbers(batch) == store.read(run.run_id).numbers


@pytest.mark.parametrize("step", [-(2**63), -1, 2**53 + 1, 2**63 - 1])
def test_a_step_may_be_any_int64(store: Store, step: int) -> None:
    """Also one that a double cannot hold; and the epoch itself is a time."""
    run = make_run()
    (number,) = make_batch([0.5])
    (text,) = make_batch(["x"], key="text", first=2)
    batch = [msgspec.structs.replace(seen, step=step, ts=0) for seen in (number, text)]

    deliver(store, run, batch)

    arrived = store.read(run.run_id)
    assert {("loss", step): [(0, 0.5)]} == arrived.numbers
    assert {("text", step): "x"} == arrived.others


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (None, "None"),
        ("", ""),
        ("läuft 💥\n", "läuft 💥\n"),
        ([1, 2.5, None], "[1, 2.5, null]"),
        ({"a": {"b": True}}, '{"a": {"b": true}}'),
    ],
)
def test_what_is_no_number_arrives_as_text(store: Store, value: object, text: str) -> None:
    """Strings as themselves, containers as JSON, the rest as Python prints it."""
    run = make_run()

    deliver(store, run, make_batch([value], key="spam"))

    assert {("spam", 0): text} == store.read(run.run_id).others


@pytest.mark.parametrize("value", ["x" * 7000, "a\0b", "\ud800", ["y" * 7000]])
def test_no_value_is_cut(store: Store, value: object) -> None:
    """Long ones, and those with characters that databases refuse, are whole somewhere."""
    run = make_run()

    deliver(store, run, make_batch([value], key="spam"))

    assert {("spam", 0): as_text(value)} == store.read(run.run_id).others


@pytest.mark.parametrize("key", ["", "..", "/a", "a//b", "a/", "loss%", "_x25_", "é\n", "k" * 300])
def test_every_key_arrives_under_its_own_name(store: Store, key: str) -> None:
    """Whatever the tracker itself thinks of the name."""
    run = make_run()
    numbers = make_batch([0.5, 1.5], key=key)

    deliver(store, run, numbers, make_batch(["a"], key=key + "!", first=3))

    arrived = store.read(run.run_id)
    assert expected_numbers(numbers) == arrived.numbers
    assert {(key + "!", 0): "a"} == arrived.others


def test_keys_of_nested_tasks_stay_apart(store: Store) -> None:
    """An inner task's key stands below its path."""
    run = make_run()
    outer = make_batch([1.0], task=("outer",))
    inner = make_batch([2.0], task=("outer", "inner"), first=2)

    deliver(store, run, outer + inner)

    assert {("loss", 0), ("outer/inner/loss", 0)} == set(store.read(run.run_id).numbers)


def test_a_run_is_found_again_after_a_restart(store: Store) -> None:
    """Also when its tag became known only in between."""
    run = make_run()
    batch = make_batch([1.0, 2.0, 3.0])

    deliver(store, run, batch[:1])
    deliver(store, run, batch[1:2])
    deliver(store, make_run(run.run_id, tag=f"late-{run.run_id}"), batch[2:])

    arrived = store.read(run.run_id)
    assert arrived.runs == 1
    assert expected_numbers(batch) == arrived.numbers


def test_runs_of_a_new_tag_may_be_opened_at_once(store: Store) -> None:
    """Whoever is second to make what they share takes what the first one made."""
    backend = store.backend()
    runs = [make_run(tag=f"tag-{START_TS}-{id(backend)}") for _ in range(4)]

    def work(run: RunInfo) -> None:
        backend.open(run).send(make_batch([1.0, 2.0]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, runs))

    for run in runs:
        assert expected_numbers(make_batch([1.0, 2.0])) == store.read(run.run_id).numbers


@pytest.mark.parametrize(
    ("status", "killed", "read"),
    [("SUCCESS", False, "SUCCESS"), ("FAIL", False, "FAIL"), ("FAIL", True, "KILLED")],
)
def test_a_run_ends_as_it_ended(store: Store, status: str, killed: bool, read: str) -> None:
    """With the times of the run itself, not of its delivery."""
    run = make_run()
    ended = make_run(run.run_id, status=status, killed=killed, message="why", end_ts=END_TS)

    deliver(store, run).settle(ended)

    arrived = store.read(run.run_id)
    assert read == arrived.status
    assert (arrived.start_ms, arrived.end_ms) == (START_TS // 1000, END_TS // 1000)


def test_a_run_that_ended_may_go_on_and_end_again(store: Store) -> None:
    """Somebody joined it later; settling twice alike changes nothing."""
    run = make_run()
    failed = make_run(run.run_id, status="FAIL", message="no", end_ts=END_TS)
    later_ts = END_TS + 5_000_000
    done = make_run(run.run_id, status="SUCCESS", end_ts=later_ts)
    session = deliver(store, run)

    session.settle(failed)
    session.settle(run)
    reopened = store.read(run.run_id)
    again = deliver(store, run, make_batch([1.0]))
    for _ in range(2):
        again.settle(done)

    arrived = store.read(run.run_id)
    assert reopened.status == "PROCESSING"
    assert (arrived.status, arrived.end_ms) == ("SUCCESS", later_ts // 1000)


def test_parameters_arrive_also_those_that_came_later(store: Store) -> None:
    """A process that joins a run may bring some of its own."""
    run = make_run()
    session = deliver(store, run)
    parameters = {f"p/{i}?": i for i in range(120)} | {"long": "x" * 7000, "lr": 0.1, "on": True}

    session.settle(make_run(run.run_id, parameters={"lr": 0.1}))
    session.settle(make_run(run.run_id, parameters=parameters))

    expected = {name: str(value) for name, value in parameters.items()}
    assert expected == store.read(run.run_id).parameters


def test_closing_is_harmless(store: Store) -> None:
    """Twice too; what is closed can be opened again."""
    run = make_run()
    backend = store.backend()
    session = backend.open(run)

    session.close()
    session.close()
    backend.open(run).send(make_batch([1.0]))
    backend.close()
    backend.close()

    assert expected_numbers(make_batch([1.0])) == store.read(run.run_id).numbers
