"""Kills: the daemon, the writers, or both, at random moments; and stopped for a while instead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from tests.conftest import DEADLINE_SECONDS
from tests.torture.actors import ROOT
from tests.torture.torture import torture

if TYPE_CHECKING:
    from tests.torture.actors import Actor, Daemon, Writer
    from tests.torture.house import House

WRITERS: Final = 4
MOST_WAIT_SECONDS: Final = 1.0
SERVES, STARTS = "daemon killed while it serves", "daemon killed while it starts"
STOPS, DRAINS = "daemon killed while it stops", "drain killed"
HELD = "a second daemon refused"
WRITER, LARGE = "writer killed", "writer killed in the middle of a line"
BOTH = "daemon and writer killed at once"
DAEMON_PAUSED, WRITER_PAUSED = "daemon stopped for a while", "writer stopped for a while"


@torture("the daemon is killed", faults=[SERVES, STARTS, STOPS], share=3)
def daemon_killed(house: House) -> None:
    """Kill the daemon at random moments of its life while four writers emit into two runs."""
    daemon = house.daemon()
    writers = [house.writer(f"r{number % 2}").start() for number in range(WRITERS)]
    for number in house.rounds(least=6, until=[SERVES, STARTS, STOPS]):
        _KILLS[number % len(_KILLS)](house, daemon)
    _end(house, daemon, writers)


def _kill_serving(house: House, daemon: Daemon) -> None:
    daemon.start()
    house.pause(0, 0.3)
    daemon.kill()
    house.happened(SERVES)


def _kill_starting(house: House, daemon: Daemon) -> None:
    begin = daemon.log.stat().st_size
    daemon.start(wait=False)
    house.pause(0, 0.5)
    house.happened(STARTS if not daemon.has_said(b'"serving"', begin) else SERVES)
    daemon.kill()


def _kill_stopping(house: House, daemon: Daemon) -> None:
    daemon.start()
    house.pause(0, 0.2)
    daemon.signal(signal.SIGTERM)
    house.pause(0, 0.05)
    if daemon.lives():
        house.happened(STOPS)
    daemon.kill()


# Most kills find it at work.
_KILLS: Final = (_kill_serving, _kill_starting, _kill_serving, _kill_stopping)


@torture("drains and rivals are killed", faults=[DRAINS, HELD])
def drain_killed(house: House) -> None:
    """Kill `steplogd drain` at random moments, and start two daemons over one home at once."""
    writers = [house.writer("r").start() for _ in range(2)]
    daemon, rival = house.daemon(), house.daemon()
    for _ in house.rounds(least=4, until=[DRAINS, HELD]):
        _kill_drain(house)
        daemon.start(wait=False)
        rival.start(wait=False)
        _see_one_refused(house, daemon, rival)
    daemon.start()
    _end(house, daemon, writers)


def _kill_drain(house: House) -> None:
    command = [sys.executable, "-m", "steplogd", "drain", "--config", str(house.configured)]
    drain = subprocess.Popen(command, cwd=ROOT, env=house.environment, stderr=subprocess.DEVNULL)
    house.pause(0.1, 1.0)
    drain.kill()
    if drain.wait(DEADLINE_SECONDS) == -signal.SIGKILL:
        house.happened(DRAINS)


def _see_one_refused(house: House, *daemons: Daemon) -> None:
    """Wait until one of the two has given way, and kill the other."""
    processes = [one.process for one in daemons if one.process is not None]
    while all(process.poll() is None for process in processes):
        house.pause(0.01, 0.02)
    refused = [process.poll() for process in processes if process.poll() is not None]
    assert refused == [73], f"not one daemon was refused, but: {refused}"
    house.happened(HELD)
    house.pause(0, 0.3)
    for one in daemons:
        one.kill()


@torture("writers are killed", faults=[WRITER, LARGE, BOTH], share=2)
def writers_killed(house: House) -> None:
    """Kill writers at random moments, also in the middle of large lines, alone and together."""
    daemon = house.daemon().start()
    for number in house.rounds(least=6, until=[LARGE]):
        run_id = f"r{number}"
        writers = [
            house.writer(run_id, "large", pace=200).start(),
            house.writer(run_id, pace=100).start(),
        ]
        if number % 2:
            _lie_in_wait(house, run_id)
        else:
            house.pause(0, 0.2)
        if number % 3 == 2:
            daemon.kill()
            house.happened(BOTH)
        for writer in writers:
            writer.kill()
            house.happened(WRITER)
        house.happened(LARGE, _has_torn_tail(house, run_id))
        if not daemon.lives():
            daemon.start()
    house.settle()
    house.judge()
    daemon.stop()
    _see_killed(house, number + 1)


def _lie_in_wait(house: House, run_id: str) -> None:
    """Wait, but not for ever, for the moment in which a line is half written."""
    end = time.monotonic() + MOST_WAIT_SECONDS
    with (house.home / "spool" / f"{run_id}.jsonl").open("rb", buffering=0) as spool:
        while time.monotonic() < end:
            spool.seek(-1, os.SEEK_END)
            if spool.read(1) != b"\n":
                return


def _see_killed(house: House, count: int) -> None:
    """See that each run says that it was killed, and that no number is missing or comes twice."""
    for number in range(count):
        row = house.run_row(f"r{number}")
        assert (row["status"], row["killed"]) == ("FAIL", 1), f"r{number} was killed: {row}"
        assert (row["gaps"], row["repeated"]) == (0, 0), f"r{number}: {row}"


def _has_torn_tail(house: House, run_id: str) -> bool:
    return not (house.home / "spool" / f"{run_id}.jsonl").read_bytes().endswith(b"\n")


@torture("processes stand still", faults=[DAEMON_PAUSED, WRITER_PAUSED])
def stopped(house: House) -> None:
    """Stop daemon and writers for a while: nobody takes them for dead, nothing is lost."""
    daemon = house.daemon().start()
    writers = [house.writer("r").start() for _ in range(2)]
    for _ in house.rounds(least=4):
        _stop_for_a_while(house, daemon)
        house.happened(DAEMON_PAUSED)
        _stop_for_a_while(house, house.random.choice(writers))
        house.happened(WRITER_PAUSED)
    _end(house, daemon, writers)


def _stop_for_a_while(house: House, actor: Actor) -> None:
    actor.signal(signal.SIGSTOP)
    house.pause(0.1, 0.5)
    actor.signal(signal.SIGCONT)
    house.pause(0, 0.1)


def _end(house: House, daemon: Daemon, writers: list[Writer]) -> None:
    """End all well, and judge what there is; the run must not say that anybody was killed."""
    if not daemon.lives():
        daemon.start()
    for writer in writers:
        writer.end()
    house.settle()
    daemon.stop()
    house.judge()
    for run_id in {writer.run_id for writer in writers}:
        row = house.run_row(run_id)
        assert (row["status"], row["gaps"], row["malformed"]) == ("SUCCESS", 0, 0), row
