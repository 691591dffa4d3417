"""Hostile spools: somebody attacks the folder in which others track."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.torture.actors import Actor
from tests.torture.attacking import ATTACKS, SPOOLS
from tests.torture.torture import torture
from tests.touches import Touches

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.actors import Daemon
    from tests.torture.house import House

WRITERS: Final = 3
MAX_GROWTH_BYTES: Final = 64 * 1024 * 1024
KILLED: Final = "daemon killed meanwhile"


class _Attacker(Actor):
    """The program that attacks; its log has a line for each attack."""

    def __init__(self, house: House, outside: Path) -> None:
        super().__init__(house.environment)
        self._arguments = [str(house.home / "spool"), str(outside), str(house.random.random())]
        self._log = house.folder / "attacks.log"
        house.keep(self)

    def start(self) -> _Attacker:
        """Start to attack."""
        self._start(["tests.torture.attacking", *self._arguments], self._log)
        return self

    def attacks(self) -> Counter[str]:
        """Return how often each attack was carried out; fail when it ended by itself."""
        lines = self._log.read_text(errors="replace").splitlines()
        return Counter(line for line in lines if line in ATTACKS)

    def tail(self) -> str:
        """Return the end of its log."""
        return self._log.read_text(errors="replace")[-2000:]


@torture("spools are hostile", faults=[*ATTACKS, KILLED], share=2)
def hostile(house: House) -> None:
    """Attack spools at random while writers emit beside them: theirs arrive, no more is touched."""
    outside = house.folder / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b'{"t":"track","values":{"secret":1}}\n')
    daemon = house.daemon().start()
    writers = [house.writer(f"r{number}").start() for number in range(WRITERS)]
    touches = Touches(outside)
    attacker = _Attacker(house, outside).start()
    memory = _watch(house, daemon, attacker)
    attacker.kill()
    for writer in writers:
        writer.end()
    assert touches.names() == set(), "something outside the home was touched"
    touches.close()
    _take_away(house)
    began = time.monotonic()
    house.settle()
    house.note(f"all was delivered {time.monotonic() - began:.1f} s after the last attack")
    daemon.stop()
    house.judge()
    for fault, times in attacker.attacks().items():
        house.happened(fault, times)
    for writer in writers:
        row = house.run_row(writer.run_id)
        assert (row["status"], row["gaps"], row["malformed"]) == ("SUCCESS", 0, 0), row
    _report(house, memory)


def _watch(house: House, daemon: Daemon, attacker: _Attacker) -> list[int]:
    """Look on while it attacks, until each attack has happened; kill the daemon once or twice."""
    memory: list[int] = []
    for number in house.rounds(least=8):
        house.pause(0.2, 0.6)
        assert attacker.lives(), f"the attacker ended by itself: {attacker.tail()}"
        assert daemon.lives(), f"the daemon ended by itself: {daemon.tail()}"
        if number % 16 == 7:
            daemon.kill()
            daemon.start()
            house.happened(KILLED)
        memory.append(daemon.memory_bytes())
    while len(attacker.attacks()) < len(ATTACKS):
        house.pause(0.05, 0.1)
    return memory


def _take_away(house: House) -> None:
    """Remove what was attacked last: nobody can tell when all of it is folded."""
    for number in range(SPOOLS):
        path = house.home / "spool" / f"h{number}.jsonl"
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def _report(house: House, memory: list[int]) -> None:
    begin, end = memory[len(memory) // 3], max(memory)
    assert end - begin < MAX_GROWTH_BYTES, f"memory grows: {memory}"
    house.note(f"the daemon had {begin / 1e6:.0f} to {end / 1e6:.0f} MB of its own")
