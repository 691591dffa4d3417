"""What a service manager is told: on a real socket, one datagram for what belongs together."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from steplogd.systemd.notify_socket import NotifySocket
from steplogd.systemd.supervisor import Supervisor
from tests.conftest import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PID = 42


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Name the manager's socket."""
    return str(tmp_path / "notify")


@pytest.fixture
def manager(path: str) -> Iterator[socket.socket]:
    """Be the manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(DEADLINE_SECONDS)
        yield listening


@pytest.fixture
def supervisor(path: str) -> Iterator[Supervisor]:
    """Find the manager."""
    with contextlib.closing(Supervisor.found({"NOTIFY_SOCKET": path}, PID)) as supervisor:
        yield supervisor


def test_each_datagram_has_what_belongs_together(
    manager: socket.socket, supervisor: Supervisor
) -> None:
    """RELOADING and its time above all, which systemd wants in one."""
    supervisor.ready("serving")
    before = time.monotonic_ns() // 1000
    supervisor.reloading()
    supervisor.alive()
    supervisor.more_time(2.5)
    supervisor.stopping("stopping")
    told = [manager.recv(4096).decode() for _ in range(5)]

    name, _, now = told[1].rpartition("=")
    assert told[0] == "READY=1\nSTATUS=serving"
    assert name == "RELOADING=1\nMONOTONIC_USEC"
    assert before <= int(now) <= time.monotonic_ns() // 1000
    assert told[2:] == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=2500000", "STOPPING=1\nSTATUS=stopping"]


def test_status_is_told_when_it_is_news(manager: socket.socket, supervisor: Supervisor) -> None:
    """Also when what was told last came along with something else."""
    supervisor.ready("a")
    for status in ("a", "b", "b", "a"):
        supervisor.status(status)
    told = [manager.recv(4096).decode() for _ in range(3)]
    manager.setblocking(False)

    assert told == ["READY=1\nSTATUS=a", "STATUS=b", "STATUS=a"]
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


def test_nobody_can_smuggle_an_assignment_into_a_status(
    manager: socket.socket, supervisor: Supervisor
) -> None:
    """What a tracker answered stands in it."""
    supervisor.status("down\nMAINPID=1\r\x85READY=1\ud800é")

    assert manager.recv(4096).decode() == r"STATUS=down\nMAINPID=1\r\x85READY=1\ud800é"


def test_status_is_short_enough_for_systemd(manager: socket.socket, supervisor: Supervisor) -> None:
    """It drops datagrams of more than 4 KiB, and what is not UTF-8."""
    supervisor.ready("x" + "é" * 5000)
    told = manager.recv(10_000)

    assert len(told) <= 4096
    assert told.decode().startswith("READY=1\nSTATUS=xééé")


def test_variables_are_taken_out_of_the_environment(path: str) -> None:
    """No child shall speak for us; all others stay."""
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "42", "HOME": "/"}
    Supervisor.found(environment, PID).close()

    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "42"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
        ({}, None),
    ],
)
def test_watchdog_counts_where_it_is_meant_for_us(
    path: str, variables: dict[str, str], seconds: float | None
) -> None:
    """In seconds."""
    supervisor = Supervisor.found({"NOTIFY_SOCKET": path, **variables}, PID)
    supervisor.close()

    assert supervisor.watchdog_seconds == seconds


@pytest.mark.parametrize("name", ["", "relative/notify", "vsock:2:1234"])
def test_without_a_socket_that_we_know_there_is_nobody(name: str) -> None:
    """And to tell nobody is fine."""
    supervisor = Supervisor.found({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"}, PID)
    supervisor.ready("serving")
    supervisor.flush()

    assert (supervisor.is_there, supervisor.watchdog_seconds) == (False, None)


@pytest.mark.parametrize("name", ["/nowhere/notify", "@nobody", f"/{'x' * 200}", "/a\0b"])
def test_socket_that_is_none_is_told_for_nothing(name: str) -> None:
    """Nothing is raised, and nothing is kept for it."""
    with contextlib.closing(NotifySocket(name)) as notifying:
        notifying.tell(READY=1)

    assert not notifying._unsent


def test_what_a_busy_manager_could_not_hear_is_told_later_in_order(
    path: str, manager: socket.socket
) -> None:
    """Its queue is full: nobody waits for it."""
    with contextlib.closing(NotifySocket(path)) as notifying:
        while not notifying._unsent:
            notifying.tell(X=1)
        notifying.tell(READY=1)
        waiting = [datagram.decode() for datagram in notifying._unsent]
        told = [manager.recv(4096)]
        while told[-1] != b"READY=1":
            notifying.flush()
            told.append(manager.recv(4096))

    assert waiting == ["X=1", "READY=1"]
    assert set(told[:-1]) == {b"X=1"}


def test_manager_that_hears_nothing_for_minutes_hears_of_ready_all_the_same(
    path: str, manager: socket.socket
) -> None:
    """That we are alive, and need time, is said each second."""
    with contextlib.closing(Supervisor.found({"NOTIFY_SOCKET": path}, PID)) as supervisor:
        fill(path)
        supervisor.ready("all is up")
        for _ in range(300):
            supervisor.more_time(15)
            supervisor.alive()
        told = [manager.recv(4096)]
        while told[-1] != b"WATCHDOG=1":
            supervisor.flush()
            told.append(manager.recv(4096))

    assert told[-3:] == [b"READY=1\nSTATUS=all is up", b"EXTEND_TIMEOUT_USEC=15000000", told[-1]]


def fill(path: str) -> None:
    """Tell a manager more than it hears."""
    with contextlib.closing(NotifySocket(path)) as notifying:
        while not notifying._unsent:
            notifying.tell(X=1)
