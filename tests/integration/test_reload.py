"""A changed configuration: it takes effect while the daemon serves, as a whole or not at all."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import arrivals, configure, serving
from tests.lines import Scribe, append
from tests.notify_socket import Manager, managing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.zygote import Process

THIRD_PARTY = Path(__file__).with_name("third_party")
MEMORY = '[[backend]]\ntype = "memory"\n'
OTHER = '[[backend]]\ntype = "memory"\nname = "other"\nstore = "other"\n'


class Daemon:
    """A daemon under a service manager, with a configuration file that changes.

    Attributes:
        home: The home.
        manager: The service manager.
        process: The daemon; there once it has started.
    """

    process: Process

    def __init__(self, home: Path, manager: Manager) -> None:
        self.home = home
        self.manager = manager

    def hang_up(self, text: str) -> None:
        """Change the configuration, and wait until that is taken over or refused."""
        configure(self.home, text)
        count = self.manager.count("READY")
        self.process.send_signal(signal.SIGHUP)
        self.manager.wait_for("READY", count + 1)

    def log(self, event: str) -> list[dict[str, object]]:
        """Return the lines of its log that say this."""
        lines = (self.home.parent / f"{self.home.name}.log").read_text().splitlines()
        return [told for told in map(json.loads, lines) if told["event"] == event]

    def arrived(self, name: str) -> list[int]:
        """Return the positions of what came into a file, in their order."""
        path = self.home / name
        return [told["at"] for told in arrivals(path) if "at" in told] if path.exists() else []


def file(name: str, options: str = "") -> str:
    """Return the table of a backend that appends to the file of its name."""
    path = Path(os.environ["STEPLOG_HOME"]) / name
    return f'[[backend]]\ntype = "file"\nname = "{name}"\npath = "{path}"\n{options}'


@pytest.fixture
def daemon(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """Serve with one backend, that is named `a`."""
    monkeypatch.setenv("PYTHONPATH", str(THIRD_PARTY))
    with managing(tmp_path) as manager:
        config = configure(home, file("a"))
        with serving(home, "--config", config) as process:
            manager.wait_for("READY")
            daemon = Daemon(home, manager)
            daemon.process = process
            yield daemon
        assert process.poll() == 0


def test_backend_that_is_added_gets_all_from_the_start(daemon: Daemon) -> None:
    """And the one that was there gets nothing twice."""
    a = Scribe()
    append(daemon.home, "r", a.track())
    wait_until(lambda: daemon.arrived("a") == [1])

    daemon.hang_up(file("a") + file("b"))
    append(daemon.home, "r", a.track())

    wait_until(lambda: daemon.arrived("a") == daemon.arrived("b") == [1, 2])
    assert daemon.log("configuration taken over")[0]["added"] == ["b"]
    assert daemon.log("configuration taken over")[0]["changed"] == []


def test_backend_that_is_removed_gets_nothing_until_it_returns(daemon: Daemon) -> None:
    """Then it gets what it missed."""
    a = Scribe()
    append(daemon.home, "r", a.track())
    wait_until(lambda: daemon.arrived("a") == [1])

    daemon.hang_up(file("b"))
    append(daemon.home, "r", a.track())
    wait_until(lambda: daemon.arrived("b") == [1, 2])
    missed = daemon.arrived("a")
    daemon.hang_up(file("a"))

    wait_until(lambda: daemon.arrived("a") == [1, 2])
    assert missed == [1]


def test_backend_that_is_changed_goes_on_where_it_was(daemon: Daemon) -> None:
    """With its new options."""
    a = Scribe()
    append(daemon.home, "r", a.track())
    wait_until(lambda: daemon.arrived("a") == [1])

    daemon.hang_up(file("a").replace('/a"', '/elsewhere"'))
    append(daemon.home, "r", a.track())

    wait_until(lambda: daemon.arrived("elsewhere") == [2])
    assert daemon.arrived("a") == [1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sweep_second = 1\n", "there is no key 'sweep_second'; did you mean"),
        ("[[backend]\n", "this is not TOML"),
        ('[[backend]]\ntype = "mlfow"\n', "there is no type 'mlfow'"),
        ('home = "/elsewhere"\n', "The home cannot change from"),
        ("shared = true\n", "The key shared cannot change"),
    ],
)
def test_bad_file_is_refused_and_the_old_one_stays(daemon: Daemon, text: str, reason: str) -> None:
    """With the reason in status and log; and a good one is taken over again."""
    daemon.hang_up(text)
    refused_status = daemon.manager.status
    append(daemon.home, "r", Scribe().track())
    wait_until(lambda: daemon.arrived("a") == [1])
    daemon.hang_up(file("a"))

    assert "the changed configuration is refused, the old one stays: " in refused_status
    assert reason in refused_status
    assert reason in str(daemon.log("configuration refused, the old one stays")[0]["reason"])
    assert "is refused" not in daemon.manager.status


def test_secrets_of_a_bad_file_are_told_nobody(daemon: Daemon) -> None:
    """Neither in the status, which every user can read, nor in the log."""
    daemon.hang_up('[[backend]]\ntype = "https://ann:sesame-open@tracker.example/"\n')

    (logged,) = daemon.log("configuration refused, the old one stays")
    assert "there is no type" in daemon.manager.status
    assert "sesame" not in daemon.manager.status + str(logged)


def test_reload_is_told_with_its_time(daemon: Daemon) -> None:
    """In one datagram, later than the signal, and before it is ready again."""
    before = time.monotonic_ns() // 1000
    daemon.hang_up(file("a"))
    after = time.monotonic_ns() // 1000

    told = [heard.told for heard in daemon.manager.heard]
    (reloading,) = (one for one in told if "RELOADING" in one)
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= after
    assert [key for one in told for key in one if key in ("READY", "RELOADING")] == [
        *("READY", "RELOADING", "READY")
    ]


def test_burst_of_signals_ends_ready_with_the_last_file(daemon: Daemon) -> None:
    """However many of them are taken as one."""
    for number in range(20):
        configure(daemon.home, file("a") + file(f"b{number}"))
        daemon.process.send_signal(signal.SIGHUP)
    append(daemon.home, "r", Scribe().track())

    wait_until(lambda: daemon.arrived("b19") == [1])
    wait_until(lambda: daemon.manager.count("READY") == daemon.manager.count("RELOADING") + 1)
    daemon.manager.wait_for_status("b19 ok")
    assert daemon.arrived("a") == [1]


def test_backends_that_come_go_and_change_get_everything_once(daemon: Daemon) -> None:
    """However often, while somebody tracks: nothing hangs here, so that nothing comes again."""
    a, lines = Scribe(), 0
    for text in [file("a"), file("a") + file("b"), file("a", "reads = true\n"), file("b")] * 6:
        append(daemon.home, "r", *[a.track() for _ in range(50)])
        lines += 50
        daemon.hang_up(text)
    daemon.hang_up(file("b") + file("a"))

    wait_until(lambda: len(daemon.arrived("a")) >= lines and len(daemon.arrived("b")) >= lines)
    assert daemon.arrived("a") == daemon.arrived("b") == list(range(1, lines + 1))


def test_signal_while_it_stops_changes_nothing(daemon: Daemon) -> None:
    """It ends as it would have ended."""
    daemon.hang_up(file("a") + file("b", "hangs = true\n"))
    append(daemon.home, "r", Scribe().track())
    daemon.manager.wait_for_status("b 1 observation behind")
    count = daemon.manager.count("RELOADING")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.manager.wait_for("STOPPING")

    def hang_up_once_more() -> bool:
        daemon.process.send_signal(signal.SIGHUP)
        return daemon.process.poll() is not None

    wait_until(hang_up_once_more)
    assert daemon.process.poll() == 0
    assert daemon.manager.count("RELOADING") == count


def test_signal_at_the_start_is_remembered(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not end the process; the file is read again once it is ready."""
    monkeypatch.setenv("PYTHONPATH", str(THIRD_PARTY))
    program = """
import os, signal, sys
import steplogd.commands.run
from steplogd.__main__ import main

load = steplogd.commands.run.load_config

def hang_up(path):
    os.kill(os.getpid(), signal.SIGHUP)
    return load(path)

steplogd.commands.run.load_config = hang_up
main(["run", *sys.argv[1:]])
"""
    with (
        managing(tmp_path) as manager,
        serving(home, "--config", configure(home), program=program) as process,
    ):
        manager.wait_for("RELOADING", 3)

        assert process.poll() is None
    order = [key for _, told in manager.heard for key in told if key in ("READY", "RELOADING")]
    assert order[:4] == ["READY", "RELOADING", "READY", "RELOADING"]


def test_file_that_cannot_be_read_in_time_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next signal has it read once more."""
    monkeypatch.setenv("PYTHONPATH", str(THIRD_PARTY))
    program = """
import sys, time
import steplogd.commands.run
import steplogd.supervised
from steplogd.__main__ import main

load = steplogd.commands.run.load_config
pauses = [0, 3600, 0]

def hang(path):
    if pauses[0]:
        steplogd.supervised._LOAD_SECONDS = 60  # for the one after this
    time.sleep(pauses.pop(0))
    return load(path)

steplogd.commands.run.load_config = hang
steplogd.supervised._LOAD_SECONDS = 0.1
main(["run", *sys.argv[1:]])
"""
    with (
        managing(tmp_path) as manager,
        serving(home, "--config", configure(home), program=program) as process,
    ):
        manager.wait_for("READY")
        daemon = Daemon(home, manager)
        daemon.process = process
        daemon.hang_up(file("a"))
        refused = manager.status
        daemon.hang_up(file("a"))

        manager.wait_for_status("; a ok")
    assert "The configuration cannot be read within " in refused


def test_daemon_whose_terminal_is_gone_ends(home: Path) -> None:
    """Whoever closed it meant that; it is no service then."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "steplogd", "run", "--config", configure(home)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )
    os.close(terminal)
    assert b"serving" in read_until(controller, b"serving")
    os.close(controller)

    assert process.wait(DEADLINE_SECONDS) == 0


def read_until(descriptor: int, words: bytes) -> bytes:
    """Read from a terminal until it has these words."""
    text = b""
    while words not in text:
        text += os.read(descriptor, 4096)
    return text
