"""The daemon under a service manager: what it tells, and when it tells nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import configure, rows, serving, steplogd
from tests.lines import Scribe, append
from tests.notify_socket import Manager, managing
from tests.slowed import (
    BLOCKED_LOOP,
    COMMIT_ON_DISK,
    HUNG_LINE,
    HUNG_STORE,
    PATIENT_STORE,
    SLOW_LOOK,
    SLOW_SWEEP,
    SLOW_WATCH,
    SWEEP_ON_DISK,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = '[[backend]]\ntype = "file"\n'
WATCHDOG_SECONDS = 2.0
NEVER = 3600
"""Seconds between sweeps of tests in which nothing is found by one."""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Be the service manager, one that wants to hear that the daemon is alive."""
    with managing(tmp_path, watchdog_seconds=WATCHDOG_SECONDS) as manager:
        yield manager


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the daemon find the backend `file`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("third_party")))


def slow_sweeps(home: Path, text: str = "") -> str:
    """Configure a daemon that sweeps but at the start."""
    path = Path(configure(home, text))
    path.write_text(path.read_text().replace("sweep_seconds = 0.5", f"sweep_seconds = {NEVER}"))
    return str(path)


def position(home: Path, run_id: str = "r") -> int:
    """Return how many observations of a run are folded."""
    found = rows(home, f"SELECT position FROM run WHERE run_id = '{run_id}'")
    return int(found[0][0]) if found else 0


def test_what_is_appended_after_ready_is_folded_without_a_sweep(
    home: Path, manager: Manager
) -> None:
    """The watch is armed by then, and what lay there before is known."""
    append(home, "before", Scribe().track())
    with serving(home, "--config", slow_sweeps(home)):
        manager.wait_for("READY")
        append(home, "r", Scribe().track())

        wait_until(lambda: position(home) == position(home, "before") == 1)
    assert manager.count("READY") == 1


@pytest.mark.parametrize("program", [SLOW_WATCH, SLOW_SWEEP])
def test_daemon_is_not_ready_before_all_is_followed(
    home: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """It asks for more time, for as long as it gets on."""
    go_on = home.parent / "go-on"
    monkeypatch.setenv("GO_ON", str(go_on))
    with serving(home, "--config", configure(home), program=program):
        manager.wait_for("EXTEND_TIMEOUT_USEC", 8)  # beyond some sweeps
        was_ready = manager.count("READY")
        go_on.touch()

        manager.wait_for("READY")
    assert was_ready == 0


def test_daemon_is_ready_where_the_kernel_gives_no_watch(home: Path, manager: Manager) -> None:
    """It looks often instead, and is ready once it has looked."""
    program = """
import sys
import steplogd.folding.follow
from steplogd.__main__ import main

def refuse(*_):
    raise OSError(28, "inotify watch limit reached")

steplogd.folding.follow.watch = refuse
main(["run", *sys.argv[1:]])
"""
    with serving(home, "--config", slow_sweeps(home), program=program):
        manager.wait_for("READY")
        append(home, "r", Scribe().track())

        wait_until(lambda: position(home) == 1)


def test_daemon_without_a_manager_tells_nobody(home: Path, manager: Manager) -> None:
    """Where `NOTIFY_SOCKET` is not set, though a socket is there."""
    del os.environ["NOTIFY_SOCKET"]
    with serving(home, "--config", configure(home)):
        append(home, "r", Scribe().track())
        wait_until(lambda: position(home) == 1)

    assert manager.heard == []


def test_other_commands_tell_nothing(home: Path, manager: Manager) -> None:
    """Whoever drains within a service would say that it is ready, or is not."""
    append(home, "r", Scribe().track())

    done = steplogd("drain", "--config", configure(home))

    assert (done.returncode, manager.heard) == (0, [])


@pytest.mark.parametrize("name", ["/nowhere/notify", "@nobody-listens-here", "vsock:2:1", ""])
def test_socket_that_nobody_listens_on_costs_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The daemon serves as ever."""
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with serving(home, "--config", configure(home)) as process:
        append(home, "r", Scribe().track())
        wait_until(lambda: position(home) == 1)

    assert process.poll() == 0


def test_manager_that_hears_nothing_for_a_while_hears_of_ready_later(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue is full when the daemon starts, which does not wait for it."""
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(DEADLINE_SECONDS)
        fill(path)
        with serving(home, "--config", configure(home)):
            append(home, "r", Scribe().track())
            wait_until(lambda: position(home) == 1)

            heard = iter(lambda: manager.recv(4096), b"")
            assert any(datagram.startswith(b"READY=1\n") for datagram in heard)


def fill(path: str) -> None:
    """Leave no room for a datagram."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"X=1", path)


def test_socket_may_be_in_the_abstract_space(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers."""
    name = f"@steplog-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with Manager(name) as manager, serving(home, "--config", configure(home)):
        manager.wait_for("READY")


def test_status_says_what_is_there_to_do(home: Path, manager: Manager, third_party: None) -> None:
    """Open runs, and how far each backend is behind."""
    a = Scribe()
    config = configure(home, f'{FILE}hangs = true\n{FILE}name = "other"\npath = "{home}/other"\n')
    with serving(home, "--config", config):
        append(home, "r", *[a.track() for _ in range(1200)])

        manager.wait_for_status(
            f"serving {home}: 1 run open, all folded; file 1,200 observations behind, other ok"
        )


def test_status_is_told_again_after_a_look_that_took_long(home: Path, manager: Manager) -> None:
    """It does not rest for hours then."""
    with serving(home, "--config", configure(home), program=SLOW_LOOK):
        manager.wait_for_status("0 runs open")
        append(home, "r", Scribe().line("track", values={"x": 1}))

        manager.wait_for_status("1 run open")


def test_status_says_that_the_store_is_waited_for(home: Path, manager: Manager) -> None:
    """At the start, for longer than a start may take; then it is ready."""
    home.mkdir()
    with sqlite3.connect(home / "steplog.db", isolation_level=None) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        with serving(home, "--config", configure(home), until=b"store is locked"):
            manager.wait_for_status("waiting for the store: ")
            manager.wait_for("EXTEND_TIMEOUT_USEC", 2)
            was_ready = manager.count("READY")
            other.execute("ROLLBACK")

            manager.wait_for("READY")
    assert was_ready == 0


@pytest.mark.usefixtures("third_party")
def test_watchdog_is_fed_while_a_tracker_hangs(home: Path, manager: Manager) -> None:
    """Or its outage would restart the daemon for ever."""
    append(home, "r", Scribe().track())
    with serving(home, "--config", configure(home, f"{FILE}hangs = true\n")):
        manager.wait_for_status("file 1 observation behind")

        manager.wait_for_more("WATCHDOG", 8)


@pytest.mark.parametrize("program", [BLOCKED_LOOP, HUNG_LINE, HUNG_STORE])
def test_watchdog_is_not_fed_while_nothing_gets_on(
    home: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """For so long that the manager would kill the daemon."""
    block_now = home.parent / "block-now"
    monkeypatch.setenv("BLOCK_NOW", str(block_now))
    with serving(home, "--config", configure(home), program=program) as process:
        manager.wait_for("READY")
        manager.wait_for_more("WATCHDOG", 8)

        block_now.touch()
        wait_until(lambda: time.monotonic() - manager.last("WATCHDOG") > WATCHDOG_SECONDS)
        process.kill()


def test_watchdog_is_fed_while_the_store_is_locked(home: Path, manager: Manager) -> None:
    """By another program, for much longer than the manager would wait: its turn comes."""
    with serving(home, "--config", configure(home), program=PATIENT_STORE):
        manager.wait_for("READY")
        with sqlite3.connect(home / "steplog.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            append(home, "r", Scribe().track())
            manager.wait_for_more("WATCHDOG", 20)
            folded = position(home)
            other.execute("ROLLBACK")
        wait_until(lambda: position(home) == 1)

    assert folded == 0


@pytest.mark.parametrize("program", [SWEEP_ON_DISK, COMMIT_ON_DISK])
def test_watchdog_is_fed_while_the_disk_is_waited_for(
    home: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """However long: the next daemon would find the same disk."""
    pipe = home.parent / "pipe"
    monkeypatch.setenv("BLOCK_NOW", str(pipe))
    with serving(home, "--config", configure(home), program=program):
        manager.wait_for("READY")
        os.mkfifo(pipe)
        manager.wait_for_more("WATCHDOG", 20)
        append(home, "r", Scribe().track())
        is_folded = position(home) > 0
        descriptor = os.open(pipe, os.O_RDWR)
        pipe.unlink()

        wait_until(lambda: position(home) == 1)
        os.close(descriptor)
    assert not is_folded


def test_watchdog_is_fed_while_the_disk_is_full(home: Path, manager: Manager) -> None:
    """And the status says so."""
    append(home, "r", Scribe().track())
    with serving(home, "--config", configure(home, f"min_free = {2**62}\n")):
        manager.wait_for_status("spools are not folded: the disk of ")

        manager.wait_for_more("WATCHDOG", 20)


def test_watchdog_is_not_fed_for_another_process(home: Path, manager: Manager) -> None:
    """`WATCHDOG_PID` names it."""
    os.environ["WATCHDOG_PID"] = str(os.getpid())
    try:
        with serving(home, "--config", configure(home)):
            manager.wait_for("READY")
            manager.wait_for_status("all folded")
    finally:
        del os.environ["WATCHDOG_PID"]

    assert manager.count("WATCHDOG") == 0


def test_daemon_that_cannot_start_says_why(home: Path, manager: Manager) -> None:
    """In the status, beside what it prints; it was never ready."""
    done = steplogd("run", "--config", configure(home, "sweep_second = 1\n"))

    assert done.returncode == 78
    assert manager.status.startswith("failing: ")
    assert "there is no key 'sweep_second'" in manager.status
    assert manager.count("READY") == 0


def test_stop_is_told_and_ends_the_process_well(home: Path, manager: Manager) -> None:
    """Once, and with what it waits for."""
    with serving(home, "--config", configure(home)) as process:
        manager.wait_for("READY")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        status = process.wait(DEADLINE_SECONDS)

    assert status == 0
    assert manager.values("STOPPING") == ["1"]
    assert manager.status.startswith("stopping: ")


@pytest.mark.usefixtures("third_party")
def test_second_signal_to_stop_asks_for_no_more_time(home: Path, manager: Manager) -> None:
    """While a tracker hangs that is waited for: it is told once that it stops, and ends well."""
    append(home, "r", Scribe().track())
    with serving(home, "--config", configure(home, f"{FILE}hangs = true\n")) as process:
        manager.wait_for_status("file 1 observation behind")
        process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        process.send_signal(signal.SIGTERM)
        status = process.wait(DEADLINE_SECONDS)

    assert status == 0
    assert manager.values("STOPPING") == ["1"]
