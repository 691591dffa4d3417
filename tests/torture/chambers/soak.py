"""The soak: a steady load over many runs, with faults all the while."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

import msgspec

from tests.conftest import wait_until
from tests.torture.torture import torture

if TYPE_CHECKING:
    from tests.torture.actors import Daemon, Writer
    from tests.torture.house import House

RUNS: Final = 50
EVENTS_PER_SECOND: Final = 5000
MAX_LAG_BYTES: Final = 64 * 1024 * 1024
"""More than a minute of this load: a daemon that keeps up is never so far behind."""

MAX_GROWTH_BYTES: Final = 64 * 1024 * 1024
IDLE_SECONDS: Final = 3.0
DAEMON, WRITER, PAUSED = "daemon killed", "writer killed", "daemon stopped for a while"


class _Watched(msgspec.Struct):
    """What was seen of the daemon under load.

    Attributes:
        memory: Its own in bytes, each time it was looked at.
        descriptors: How many it had open.
        lags: How many bytes of the spools were not folded.
    """

    memory: list[int] = []
    descriptors: list[int] = []
    lags: list[int] = []

    def look(self, house: House, daemon: Daemon) -> None:
        """Look at it once more."""
        self.memory.append(daemon.memory_bytes())
        self.descriptors.append(daemon.descriptors())
        self.lags.append(house.left_behind()["spool_bytes"])


@torture("soak", faults=[DAEMON, WRITER, PAUSED], share=6)
def soak(house: House) -> None:
    """Emit 5,000 events a second into 50 runs, and let something die every now and then."""
    daemon = house.daemon(settings="").start()  # as people run it: what it does at rest counts
    writers = [_writer(house, f"r{number}").start(wait=False) for number in range(RUNS)]
    for writer in writers:
        writer.wait_for_call()
    watched = _Watched()
    began = time.monotonic()
    for _ in house.rounds(least=6):
        house.pause(0.2, 1.0)
        _hurt(house, daemon, writers)
        watched.look(house, daemon)
    for writer in writers:
        writer.oracle.end()
    for writer in writers:
        writer.end()
    seconds = time.monotonic() - began
    house.settle()
    _rest(house, daemon)
    daemon.stop()
    house.judge()
    house.note(f"{house.verdict.calls / seconds:,.0f} events a second for {seconds:,.0f} s")
    _report(house, watched)


def _writer(house: House, run_id: str) -> Writer:
    return house.writer(run_id, "numbers", pace=EVENTS_PER_SECOND / RUNS)


def _hurt(house: House, daemon: Daemon, writers: list[Writer]) -> None:
    """Let the next of three faults happen, in turn, so that each does."""
    turn = sum(house.tried.values()) % 3
    if turn == 0:
        daemon.kill()
        daemon.start()
        house.happened(DAEMON)
    elif turn == 1:
        number = house.random.randrange(len(writers))
        writers[number].kill()
        writers[number] = _writer(house, writers[number].run_id).start()
        house.happened(WRITER)
    else:
        daemon.signal(signal.SIGSTOP)
        house.pause(0.1, 0.5)
        daemon.signal(signal.SIGCONT)
        house.happened(PAUSED)


def _rest(house: House, daemon: Daemon) -> None:
    """Note what a daemon takes that has nothing to do; busy machines forbid to judge it here."""
    wait_until(lambda: (house.home / "runs").exists() and _documents(house) == RUNS)
    began, before = time.monotonic(), daemon.cpu_seconds()
    house.pause(IDLE_SECONDS, IDLE_SECONDS)
    share = (daemon.cpu_seconds() - before) / (time.monotonic() - began)
    house.note(f"with nothing to do the daemon takes {share:.1%} of a core")


def _documents(house: House) -> int:
    return sum(".before-" not in path.name for path in (house.home / "runs").glob("*.json"))


def _report(house: House, watched: _Watched) -> None:
    """See that memory, descriptors and lag stayed within bounds, and note them."""
    # What is taken up at the start is no growth.
    begin, end = watched.memory[len(watched.memory) // 3], max(watched.memory)
    assert end - begin < MAX_GROWTH_BYTES, f"memory grows: {watched.memory}"
    assert max(watched.lags) < MAX_LAG_BYTES, f"the daemon does not keep up: {watched.lags}"
    spread = max(watched.descriptors) - min(watched.descriptors)
    assert spread <= RUNS, f"descriptors grow: {watched.descriptors}"
    house.note(f"the daemon had {begin / 1e6:.0f} to {end / 1e6:.0f} MB of its own")
    house.note(f"it had {max(watched.descriptors)} descriptors at most")
    house.note(f"it was {max(watched.lags):,} bytes behind at most")
