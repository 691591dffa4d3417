"""The judge: compares what the oracles say with spool, run log and backend."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import msgspec

from steplog.decoding import decode
from steplog.events import Track
from steplog.values import from_column, to_json
from tests.daemon import arrivals
from tests.torture.oracle import value_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SHOWN: Final = 5
Observed = tuple[str, int, Any]
"""Key, step and value of an observation that was found."""


class Told(Protocol):
    """What the oracle says of one writer."""

    @property
    def issued(self) -> int:
        """How many calls were begun."""

    @property
    def returned(self) -> int:
        """How many of them returned."""


class Witness(Protocol):
    """A writer, as far as it is judged."""

    @property
    def run_id(self) -> str:
        """Its run."""

    @property
    def key(self) -> str:
        """What it tracked under."""

    @property
    def kind(self) -> str:
        """What it tracked; see `value_of`."""

    @property
    def oracle(self) -> Told:
        """What it was given, and what returned."""


class Verdict(msgspec.Struct):
    """What was compared, and what was found.

    Attributes:
        calls: That returned, each counted once however many places were looked at.
        lost: Calls that returned, and are missing from a place.
        twice: Observations beyond the first of a call.
        wrong: One sentence for each place that differs.
    """

    calls: int = 0
    lost: int = 0
    twice: int = 0
    wrong: list[str] = []

    def add(self, other: Verdict) -> None:
        """Count another one's findings too."""
        self.calls += other.calls
        self.lost += other.lost
        self.twice += other.twice
        self.wrong += other.wrong


def compare(place: str, witnesses: Iterable[Witness], seen: Iterable[Observed]) -> Verdict:
    """Compare one place with the oracles of all who tracked there.

    Everything that returned is there exactly once, with an equal value of the same type; a call
    that was under way may be there once; nothing else is.
    """
    verdict = Verdict()
    found: dict[str, Counter[int]] = {}
    values: dict[tuple[str, int], Any] = {}
    for key, step, value in seen:
        found.setdefault(key, Counter())[step] += 1
        values[key, step] = value
    for one in witnesses:
        _compare_one(verdict, place, one, found.pop(one.key, Counter()), values)
    if found:
        verdict.wrong.append(f"{place}: nobody tracked {_listed(found)}")
    return verdict


def _compare_one(
    verdict: Verdict,
    place: str,
    one: Witness,
    steps: Counter[int],
    values: dict[tuple[str, int], Any],
) -> None:
    issued, returned = one.oracle.issued, one.oracle.returned
    missing = [number for number in range(returned) if number not in steps]
    twice = {number: count for number, count in steps.items() if count > 1}
    never = [number for number in steps if not 0 <= number < issued]
    differing = [
        number
        for number in steps
        if number not in never and not _is_equal(values[one.key, number], one.kind, number)
    ]
    verdict.calls += returned
    verdict.lost += len(missing)
    verdict.twice += sum(twice.values()) - len(twice)
    where = f"{place}, {one.key} of {one.run_id} ({returned:,} of {issued:,} returned)"
    for what, numbers in (
        ("is missing", missing),
        ("is there more than once", twice),
        ("was never issued", never),
        ("has another value", differing),
    ):
        if numbers:
            verdict.wrong.append(f"{where}: {_listed(numbers)} {what}")


def _is_equal(found: Any, kind: str, number: int) -> bool:
    """Tell whether a value is what was tracked; types count, and NaN equals NaN."""
    return to_json({"": found}) == to_json({"": value_of(kind, number)})


def _listed(numbers: Iterable[Any]) -> str:
    ordered = list(numbers)
    shown = ", ".join(map(str, ordered[:_SHOWN]))
    return shown if len(ordered) <= _SHOWN else f"{shown} and {len(ordered) - _SHOWN:,} more"


def of_spool(home: Path, run_id: str) -> Iterator[Observed]:
    """Go through what stands in a run's spool."""
    for event in decode((home / "spool" / f"{run_id}.jsonl").read_bytes()):
        if isinstance(event, Track):
            for key, value in event.values.items():
                yield key, event.step, value


def of_run_log(home: Path, run_id: str) -> Iterator[Observed]:
    """Go through what the store has of a run, in the order of its positions."""
    sql = (
        "SELECT key, step, value FROM observation JOIN series USING (run_no, series_no) "
        "JOIN run USING (run_no) WHERE run_id = ? ORDER BY observation.position"
    )
    for key, step, column in query(home, sql, run_id):
        yield key, step, from_column(column)


def of_arrivals(path: Path) -> Iterator[Observed]:
    """Go through what a backend got of a run; what came again at its position counts once."""
    at: dict[int, Observed] = {}
    for told in arrivals(path):
        if "at" in told:
            at[told["at"]] = (told["key"], told["step"], told["value"])
    return iter(at.values())


def split_by_run(arrivals: Path, folder: Path) -> None:
    """Give what the file backend got of each run a file of its own, so that each is read once."""
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as opened, arrivals.open("rb") as lines:
        files: dict[bytes, IO[bytes]] = {}
        for line in lines:
            if not line.endswith(b"}\n"):
                continue  # half a line, which a kill left
            run = line.split(b'"', 4)[3]
            if run not in files:
                path = folder / f"{run.decode()}.jsonl"
                files[run] = opened.enter_context(path.open("wb"))
            files[run].write(line)


def query(home: Path, sql: str, *parameters: Any) -> list[Any]:
    """Return the rows of a query on the store, as any other process would see them."""
    uri = f"file:{home / 'steplog.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(sql, parameters).fetchall()
