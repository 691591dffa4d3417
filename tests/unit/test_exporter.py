"""Keeps one backend fed: runs in parallel, failures by themselves, and no wake-up lost."""

from __future__ import annotations

import threading

import anyio
import pytest
import structlog
from anyio import to_thread

from steplogd.delivery.contract import Refused, Unavailable
from steplogd.delivery.courier import Unnoted, Unread
from steplogd.delivery.exporter import Exporter
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.exporters import Courier, Ledger, build, until_idle
from tests.guard import RULES

pytestmark = RULES


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("steplogd.delivery.exporter.delay_seconds", lambda *_: 0.0)


async def test_what_an_earlier_daemon_left_behind_is_delivered() -> None:
    """Until there is no more of it."""
    courier = Courier()
    courier.act = lambda run_no: courier.calls[run_no] < 3
    exporter, stop = build(courier, Ledger(1, 2)), anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await until_idle(exporter)
        stop.set()

    assert courier.calls == {1: 3, 2: 3}


async def test_what_another_process_asked_for_is_found_by_a_sweep() -> None:
    """A replay, say: nobody wakes the exporter for it."""
    courier, ledger, stop = Courier(), Ledger(), anyio.Event()
    exporter = Exporter("x", courier, ledger, 2, sweep_seconds=0.01)  # type: ignore[arg-type]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await until_idle(exporter)
        ledger.run_nos.append(7)
        await to_thread.run_sync(wait_until, lambda: courier.calls[7] > 1)
        stop.set()

    assert set(courier.calls) == {7}


async def test_interval_of_sweeps_can_change_while_one_is_waited_for() -> None:
    """The old one, which was for ever, is not waited out."""
    courier, ledger, stop = Courier(), Ledger(), anyio.Event()
    exporter = build(courier, ledger)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await until_idle(exporter)
        ledger.run_nos.append(7)
        await anyio.wait_all_tasks_blocked()
        exporter.sweep_every(0.01)
        await to_thread.run_sync(wait_until, lambda: courier.calls[7] > 1)
        stop.set()

    assert set(courier.calls) == {7}


async def test_a_failure_is_tried_again_for_ever_and_told() -> None:
    """Once for each reason, and that it answers again."""
    courier, ledger = Courier(), Ledger(1)

    def act(run_no: int) -> bool:
        if courier.calls[run_no] < 5:
            raise Unavailable("away")
        if courier.calls[run_no] < 7:
            raise ZeroDivisionError("a defect")
        return False

    courier.act = act
    exporter, stop = build(courier, ledger), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await until_idle(exporter)
        stop.set()

    assert courier.calls[1] == 7
    assert ledger.health == ["away", "ZeroDivisionError: a defect", ""]


async def test_a_run_that_fails_holds_up_no_other() -> None:
    """It waits by itself."""

    def act(run_no: int) -> bool:
        if run_no == 1:
            raise Refused("no such experiment")
        return False

    courier = Courier(act)
    exporter, stop = build(courier, Ledger(1, 2, 3), parallel_runs=1), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        with anyio.fail_after(DEADLINE_SECONDS):
            while not {2, 3} <= courier.calls.keys():
                await anyio.lowlevel.checkpoint()
        stop.set()

    assert courier.calls[2] == courier.calls[3] == 1


async def test_only_so_many_runs_are_in_flight() -> None:
    """As many as the backend allows, and one batch of each."""
    arrived, go_on = threading.Semaphore(0), threading.Event()

    def act(_: int) -> bool:
        arrived.release()
        go_on.wait(DEADLINE_SECONDS)
        return False

    courier = Courier(act)
    exporter, stop = build(courier, Ledger(*range(10)), parallel_runs=3), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        for _ in range(3):
            await to_thread.run_sync(arrived.acquire)
        exporter.wake([0, 1, 2])
        go_on.set()
        await until_idle(exporter)
        stop.set()

    assert courier.most_at_once == 3
    assert set(courier.calls) == set(range(10))


async def test_a_wake_up_while_a_batch_is_in_flight_is_not_lost() -> None:
    """What came meanwhile is looked at once more."""
    entered, go_on = threading.Event(), threading.Event()

    def act(_: int) -> bool:
        entered.set()
        go_on.wait(DEADLINE_SECONDS)
        return False

    courier = Courier(act)
    exporter, stop = build(courier, Ledger(1)), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await to_thread.run_sync(entered.wait)
        exporter.wake([1])
        go_on.set()
        await until_idle(exporter)
        stop.set()

    assert courier.calls == {1: 2}


async def test_no_wake_up_is_lost_at_the_end_of_a_delivery() -> None:
    """Whenever it comes: each is followed by a look of its own."""
    courier = Courier()
    exporter, stop = build(courier, Ledger()), anyio.Event()
    owed = 0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await until_idle(exporter)
        for number in range(200):
            seen = courier.calls[1]
            exporter.wake([1])
            for _ in range(number % 7):
                await anyio.lowlevel.checkpoint()
            exporter.wake([1])
            await until_idle(exporter)
            owed += courier.calls[1] == seen
        stop.set()

    assert owed == 0


async def test_a_store_that_fails_at_the_start_is_waited_for() -> None:
    """Another process may hold it for a while."""
    ledger, courier = Ledger(1), Courier()
    ledger.failures = [OSError("locked"), OSError("locked")]
    exporter, stop = build(courier, ledger), anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await until_idle(exporter)
        stop.set()

    assert courier.calls == {1: 1}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            Unnoted("the disk is full"),
            ["what was sent cannot be noted, trying again", "what was sent is noted"],
        ),
        (
            Unread("locked"),
            ["what is to be sent cannot be read, trying again", "what is to be sent is read"],
        ),
    ],
)
async def test_what_the_store_cannot_do_is_tried_again_and_is_not_the_backends_fault(
    error: Exception, said: list[str]
) -> None:
    """It is said once, and the backend passes for well."""

    def act(_: int) -> bool:
        if courier.calls[1] < 5:
            raise error
        return False

    courier, ledger, stop = Courier(act), Ledger(1), anyio.Event()
    exporter = build(courier, ledger)
    with structlog.testing.capture_logs() as logged:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exporter.run, stop)
            await until_idle(exporter)
            stop.set()

    assert courier.calls == {1: 5}
    assert ledger.health == [""]
    assert [entry["event"] for entry in logged] == said


@pytest.mark.parametrize("unwritable", [1, 4])
async def test_a_health_that_cannot_be_noted_is_noted_later(unwritable: int) -> None:
    """At the next failure, or when the backend answers again."""

    def act(_: int) -> bool:
        if courier.calls[1] < 4:
            raise Unavailable("away")
        return courier.calls[1] < 6

    courier, ledger, stop = Courier(act), Ledger(1), anyio.Event()
    ledger.unwritable = unwritable
    exporter = build(courier, ledger)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await until_idle(exporter)
        stop.set()

    assert ledger.health == (["away", ""] if unwritable == 1 else [""])


async def test_retries_are_counted() -> None:
    """Each time that a batch is to be tried again, and no time that it arrives."""

    def act(_: int) -> bool:
        if courier.calls[1] < 4:
            raise Unavailable("away")
        return courier.calls[1] < 6

    courier, stop = Courier(act), anyio.Event()
    exporter = build(courier, Ledger(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await until_idle(exporter)
        stop.set()

    assert (courier.calls[1], exporter.retries) == (6, 3)


async def test_to_stop_waits_for_what_is_in_flight_and_begins_nothing() -> None:
    """The rest is the next daemon's."""
    entered, go_on = threading.Event(), threading.Event()

    def act(_: int) -> bool:
        entered.set()
        go_on.wait(DEADLINE_SECONDS)
        return True

    courier = Courier(act)
    exporter, stop = build(courier, Ledger(1)), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await to_thread.run_sync(entered.wait)
        stop.set()
        exporter.wake([2])
        go_on.set()

    assert courier.calls[1] == 1


async def test_a_backend_that_hangs_is_left_behind_when_cancelled() -> None:
    """The thread goes on, nobody waits for it."""
    entered, go_on = threading.Event(), threading.Event()

    def act(_: int) -> bool:
        entered.set()
        return go_on.wait(DEADLINE_SECONDS)

    exporter = build(Courier(act), Ledger(1))
    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exporter.run, anyio.Event())
            await to_thread.run_sync(entered.wait)
            tasks.cancel_scope.cancel()
    hung = not go_on.is_set()
    exporter.wake([2])  # the fold may still go on, and is told nothing
    go_on.set()

    assert hung


async def test_how_often_it_looks_can_change_at_once() -> None:
    """Though it was to look in an hour only."""
    ledger, courier, stop = Ledger(), Courier(), anyio.Event()
    exporter = Exporter("x", courier, ledger, 2, 3600.0)  # type: ignore[arg-type]
    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exporter.run, stop)
            await exporter.is_idle.wait()
            ledger.run_nos = [7]
            exporter.sweep_every(3600.5)
            await to_thread.run_sync(wait_until, lambda: courier.calls[7] > 0)
            stop.set()


async def test_it_knows_what_it_is_behind_with_and_why() -> None:
    """Until it is delivered."""
    answers: list[Exception] = [Unavailable("away")]

    def act(_: int) -> bool:
        if answers:
            raise answers[0]
        return False

    exporter, stop = build(Courier(act), Ledger(7)), anyio.Event()
    before = exporter.behind()
    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exporter.run, stop)
            await to_thread.run_sync(wait_until, lambda: exporter.failure() == "away")
            behind = exporter.behind()
            answers.clear()
            await exporter.is_idle.wait()
            stop.set()

    assert (before, behind) == (None, [7])
    assert (exporter.behind(), exporter.failure()) == ([], "")
