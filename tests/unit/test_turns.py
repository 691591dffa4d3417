"""Turns in the store: what of a wait is told to a watchdog."""

from __future__ import annotations

import threading

from steplogd.store.disk_wait import waits_for_disk
from steplogd.store.turns import Turns
from tests.conftest import wait_until


def test_thread_that_waits_for_none_has_no_pulse() -> None:
    """Whatever others do with the lock."""
    turns = Turns()

    with turns:
        assert turns.pulse(threading.get_native_id()) is None


def test_pulse_of_who_waits_changes_by_turns_of_others_alone() -> None:
    """It stands still while one keeps its turn, and moves when that is over."""
    turns = Turns()
    begun, go_on = threading.Event(), threading.Event()
    ids: list[int] = []

    def wait() -> None:
        ids.append(threading.get_native_id())
        begun.set()
        with turns:
            go_on.wait()

    with turns:
        thread = threading.Thread(target=wait)
        thread.start()
        begun.wait()
        wait_until(lambda: turns.pulse(ids[0]) is not None)
        first, second = turns.pulse(ids[0]), turns.pulse(ids[0])
    wait_until(lambda: turns.pulse(ids[0]) is None)
    go_on.set()
    thread.join()

    assert first == second == 0


def test_pulse_of_who_waits_for_a_patient_one_always_changes() -> None:
    """As that ends by itself."""
    turns = Turns()
    me = threading.get_native_id()

    with turns, turns.patience():
        assert turns.pulse(me) != turns.pulse(me)


def test_who_is_at_work_or_gone_waits_for_no_disk() -> None:
    """Else no standstill would ever be noticed."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()

    assert not waits_for_disk(threading.get_native_id())
    assert not waits_for_disk(thread.native_id or 0)
