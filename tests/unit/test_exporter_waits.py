"""How long all runs of an exporter wait: for a tracker that is away, or that asks for time."""

from __future__ import annotations

import math
import threading

import anyio
import pytest
from anyio import to_thread

from steplogd.delivery.contract import Unavailable
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.exporters import Courier, Ledger, build, until_idle
from tests.guard import RULES

pytestmark = RULES


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("steplogd.delivery.exporter.delay_seconds", lambda *_: 0.0)


async def test_a_backend_that_asks_for_time_is_spared_by_all_runs() -> None:
    """Not only by the one that was told."""
    told = threading.Event()

    def act(run_no: int) -> bool:
        if run_no == 1:
            told.set()
            raise Unavailable("busy", retry_after_seconds=3600)
        return False

    courier = Courier(act)
    exporter, stop = build(courier, Ledger(1)), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await to_thread.run_sync(told.wait)
        while not exporter.is_spared():
            await anyio.lowlevel.checkpoint()
        exporter.wake([2, 3])
        await anyio.wait_all_tasks_blocked()
        stop.set()

    assert courier.calls == {1: 1}


async def test_a_backend_that_asks_for_time_is_spared_by_runs_that_wait_for_their_turn() -> None:
    """Whatever is in flight then is the last, however many are behind."""
    told, go_on = threading.Event(), threading.Event()

    def act(run_no: int) -> bool:
        if run_no == 1:
            go_on.wait(DEADLINE_SECONDS)
            told.set()
            raise Unavailable("busy", retry_after_seconds=3600)
        return False

    courier = Courier(act)
    exporter, stop = build(courier, Ledger(*range(1, 100)), parallel_runs=1), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await to_thread.run_sync(wait_until, lambda: courier.calls[1] == 1)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
        await to_thread.run_sync(told.wait)
        while not exporter.is_spared():
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        stop.set()

    assert courier.calls == {1: 1}


async def test_many_runs_wait_longer_together_until_one_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tracker that is away costs no more for many; when it is back, all are tried again."""
    monkeypatch.setattr("steplogd.delivery.exporter.stretched_seconds", lambda *_: math.inf)
    is_away = True

    def act(run_no: int) -> bool:
        if is_away:
            raise Unavailable("away")
        return run_no == 99 and courier.calls[99] == 1

    courier = Courier(act)
    exporter, stop = build(courier, Ledger(*range(40))), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await to_thread.run_sync(wait_until, lambda: exporter.retries >= 40)
        await anyio.wait_all_tasks_blocked()
        is_away = False
        exporter.wake([99])
        await until_idle(exporter)
        stop.set()

    assert courier.calls == dict.fromkeys((*range(40), 99), 2)


async def test_one_run_that_fails_does_not_let_the_health_flip() -> None:
    """It is told once, and that all is well when it is."""
    courier, ledger = Courier(), Ledger(1)
    released = threading.Event()

    def act(run_no: int) -> bool:
        if run_no == 1 and not released.is_set():
            raise Unavailable("the run was deleted")
        return courier.calls[run_no] < 20

    courier.act = act
    exporter, stop = build(courier, ledger), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exporter.run, stop)
        await to_thread.run_sync(wait_until, lambda: courier.calls[1] > 1)
        exporter.wake([2, 3])
        await to_thread.run_sync(wait_until, lambda: courier.calls[2] + courier.calls[3] == 40)
        released.set()
        await until_idle(exporter)
        stop.set()

    assert ledger.health == ["the run was deleted", ""]
