"""Families of processes, started and ended in all ways; many on one run, and many runs at once."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.torture import family
from tests.torture.actors import ROOT
from tests.torture.judging import query
from tests.torture.oracle import Oracle
from tests.torture.torture import torture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.torture.family import Member
    from tests.torture.house import House

MOST_CHILDREN: Final = 3
MOST_DEPTH: Final = 3
CROWD: Final = 64
FEW: Final = 60
MANY: Final = 300
SHORT_SECONDS: Final = 20.0
PATIENCE_SECONDS: Final = 4 * DEADLINE_SECONDS
STARTED: Final = {
    "fork": "child forked",
    "thread": "child forked in a thread, while others track",
    "program": "program started",
    "pool fork": "worker forked by multiprocessing",
    "pool spawn": "worker spawned by multiprocessing",
}
ENDED: Final = {
    "returns": "process returned",
    "raises": "process ended by an exception",
    "exits at once": "process ended by os._exit",
    "is killed": "process killed at a random moment",
    "times out": "process ended by a signal in its call",
}
WORKERS: Final = ("fork", "thread", "pool fork", "pool spawn")
"""Who is another's to answer for, so that its vanishing fails no run."""

SILENT: Final = ("exits at once", "is killed", "times out")
"""Ends of which the process itself says nothing."""

TOGETHER: Final = "64 processes on one run"
AT_ONCE: Final = "run open beside many"


class Relative:
    """A member of a family, as the judge sees it."""

    kind = family.KIND

    def __init__(self, house: House, run_id: str, key: str) -> None:
        self.run_id, self.key = run_id, key
        self.oracle = Oracle(house.folder / f"{key}.oracle")


@torture("families of processes", faults=[*STARTED.values(), *ENDED.values()], share=2)
def families(house: House) -> None:
    """Let process trees grow and die in all ways, a run each, while the daemon folds."""
    daemon = house.daemon().start()
    grown: dict[str, Member] = {}
    for number in house.rounds(least=6):
        run_id = f"f{number}"
        grown[run_id] = _plan(house, run_id, way="program", depth=MOST_DEPTH)
        _start(house, grown[run_id], STEPLOG_RUN_ID=run_id).communicate(b"", PATIENCE_SECONDS)
    _judge(house, grown)
    for member in (member for root in grown.values() for member in _all(root)):
        house.happened(STARTED[member["way"]])
        house.happened(ENDED[member["end"]])
    daemon.stop()


@torture("a crowd on one run", faults=[TOGETHER])
def crowd(house: House) -> None:
    """Let 64 processes at once, forked and started, track into one run and end in all ways."""
    daemon = house.daemon().start()
    grown: dict[str, Member] = {}
    for number in house.rounds():
        run_id = f"c{number}"
        root = grown[run_id] = _plan(house, run_id, way="program", depth=0)
        root["children"] = [
            _plan(house, f"{run_id}.{child}", depth=0, ways=("fork", "fork", "fork", "program"))
            for child in range(CROWD - 1)
        ]
        _start(house, root, STEPLOG_RUN_ID=run_id).communicate(b"", PATIENCE_SECONDS)
        house.happened(TOGETHER)
    _judge(house, grown)
    daemon.stop()


@torture("many runs at once", faults=[AT_ONCE])
def runs_at_once(house: House) -> None:
    """Let a process for each of many runs be in it at the same time; all of them end."""
    many = FEW if house.budget_seconds < SHORT_SECONDS else MANY
    daemon = house.daemon().start()
    grown: dict[str, Member] = {}
    for number in house.rounds():
        begun = {f"m{number}.{k}": _plan(house, f"m{number}.{k}", depth=0) for k in range(many)}
        nursery = _start(house, begun)
        wait_until(lambda: _open_runs(house) == many)
        house.note(f"{daemon.descriptors()} descriptors of the daemon at {many} open runs")
        nursery.communicate(b"go\n", PATIENCE_SECONDS)
        grown |= begun
        house.happened(AT_ONCE, many)
    for root in grown.values():
        root["way"] = "program"  # each has a run of its own, and nobody answers for it
    _judge(house, grown)
    daemon.stop()


def _plan(
    house: House, name: str, *, depth: int, way: str = "", ways: Sequence[str] = tuple(STARTED)
) -> Member:
    """Make up a member of a family, and its children down to a depth."""
    chance = house.random
    way = way or chance.choice(ways)
    if way == "thread":  # forked there, it has no way to say how it ends, nor how its children do
        return {"key": name, "way": way, "end": chance.choice(SILENT), "children": []}
    children = [
        _plan(house, f"{name}.{number}", depth=depth - 1, ways=ways)
        for number in range(chance.randint(1, MOST_CHILDREN) if depth else 0)
    ]
    return {"key": name, "way": way, "end": chance.choice([*ENDED]), "children": children}


def _all(root: Member) -> Iterator[Member]:
    yield root
    for child in root["children"]:
        yield from _all(child)


def _start(house: House, plan: dict[str, Any], **environment: str) -> subprocess.Popen[bytes]:
    """Start a family; it ends when all of it has."""
    command = [sys.executable, "-m", "tests.torture.family", json.dumps(plan), str(house.folder)]
    with (house.folder / "families.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=house.environment | environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )


def _judge(house: House, grown: dict[str, Member]) -> None:
    """See that all that was tracked arrived, and that each run ended as its members did."""
    house.settle()
    relatives = [
        Relative(house, run_id, member["key"])
        for run_id, root in grown.items()
        for member in _all(root)
    ]
    house.judge(relatives)
    silent = [one.key for one in relatives if not one.oracle.returned]
    assert not silent, f"they never began: {silent}"
    for run_id, root in grown.items():
        row = house.run_row(run_id)
        expected = "FAIL" if any(map(_fails_its_run, _all(root))) else "SUCCESS"
        assert (row["status"], row["gaps"], row["lost"]) == (expected, 0, 0), f"{run_id}: {row}"


def _fails_its_run(member: Member) -> bool:
    if member["end"] in SILENT:
        return member["way"] not in WORKERS
    return bool(member["end"] == "raises")


def _open_runs(house: House) -> int:
    ((count,),) = query(house.home, "SELECT count(*) FROM run WHERE status = 'PROCESSING'")
    return int(count)
