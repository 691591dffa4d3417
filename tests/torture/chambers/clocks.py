"""Clocks that are set by days while tasks and daemon run, and machines that are restarted."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from tests.torture.actors import ROOT
from tests.torture.torture import torture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.actors import Actor, Writer
    from tests.torture.house import House

CLOCKS: Final = ROOT / "tests" / "integration" / "clocks"
DAY: Final = 86_400
ZONES: Final = ("UTC", "Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu")
MOST_AGE_SECONDS: Final = 2**31
WRITERS: Final = 4
WRITERS_CLOCK, DAEMONS_CLOCK = "clock of the writers set", "clock of the daemon set"
TOUCHED, ZONE = "time of a spool set", "writer in another time zone"
RESTARTED = "machine restarted"


@torture("clocks are set", faults=[WRITERS_CLOCK, DAEMONS_CLOCK, TOUCHED, ZONE])
def clocks_set(house: House) -> None:
    """Set the clocks of tasks and daemon by days, and the times of spools by years, as they run."""
    ours, theirs = house.folder / "daemon.clock", house.folder / "writers.clock"
    for clock in (ours, theirs):
        _set(clock, 0)
    daemon = house.daemon()
    daemon.environment = daemon.environment | _with_clock(house, ours)
    daemon.start()
    writers = [_writer(house, f"r{k % 2}", theirs, ZONES[k]).start() for k in range(WRITERS)]
    house.happened(ZONE, len(ZONES) - 1)
    for _ in house.rounds(least=6):
        _set(theirs, house.random.randint(-DAY, DAY))
        house.happened(WRITERS_CLOCK)
        house.pause(0, 0.2)
        _set(ours, house.random.randint(-DAY, DAY))
        house.happened(DAEMONS_CLOCK)
        house.pause(0, 0.2)
        age = house.random.randrange(MOST_AGE_SECONDS)
        os.utime(house.home / "spool" / f"r{house.random.randrange(2)}.jsonl", (age, age))
        house.happened(TOUCHED)
    for writer in writers:
        writer.end()
    house.settle()
    daemon.stop()
    house.judge()
    for run_id in ("r0", "r1"):
        _see_ended(house, run_id, "SUCCESS")


@torture("the machine is restarted", faults=[RESTARTED], share=0.5)
def machine_restarted(house: House) -> None:
    """Kill all at once, start all again: the run fails, and goes on with whoever joins it."""
    daemon = house.daemon()
    clock = house.folder / "writers.clock"
    _set(clock, 0)
    writers: list[Writer] = []
    for _ in house.rounds(least=3):
        daemon.start()
        writers = [_writer(house, "r", clock, zone).start() for zone in ZONES[:2]]
        house.pause(0, 0.5)
        _kill_at_once([daemon, *writers])
        house.happened(RESTARTED)
        house.settle()
        _see_ended(house, "r", "FAIL")
        _set(clock, house.random.randint(-DAY, DAY))  # as it was before the network was there
    daemon.start()
    last = _writer(house, "r", clock, "UTC").start()
    last.end()
    house.settle()
    daemon.stop()
    house.judge()
    _see_ended(house, "r", "SUCCESS")


def _set(clock: Path, seconds: int) -> None:
    unfinished = clock.with_suffix(".tmp")
    unfinished.write_text(str(seconds))
    unfinished.replace(clock)


def _with_clock(house: House, clock: Path) -> dict[str, str]:
    path = os.pathsep.join((str(CLOCKS), house.environment["PYTHONPATH"]))
    return {"TEST_CLOCK": str(clock), "PYTHONPATH": path}


def _writer(house: House, run_id: str, clock: Path, zone: str) -> Writer:
    writer = house.writer(run_id, TZ=zone)
    writer.environment = writer.environment | _with_clock(house, clock)
    return writer


def _kill_at_once(actors: list[Actor]) -> None:
    for actor in actors:
        os.kill(actor.pid, signal.SIGKILL)
    for actor in actors:
        actor.kill()


def _see_ended(house: House, run_id: str, status: str) -> None:
    row = house.run_row(run_id)
    assert (row["status"], row["gaps"], row["lost"]) == (status, 0, 0), f"{run_id}: {row}"
