"""A torture: a function that harms steplog on purpose, its budget, and what came of it."""

from __future__ import annotations

import importlib
import pkgutil
import time
import traceback
from typing import TYPE_CHECKING, Final

import msgspec

from tests.torture import chambers
from tests.torture.house import House, Unavailable
from tests.torture.judging import Verdict

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Function = Callable[[House], None]

_tortures: Final[dict[str, Torture]] = {}


class Torture(msgspec.Struct, frozen=True):
    """What is tried.

    Attributes:
        name: What it is called in the report.
        faults: What is to happen in it; one that never happened fails it.
        share: Its part of the time, beside the others'.
        function: Does it.
    """

    name: str
    faults: tuple[str, ...]
    share: float
    function: Function


class Outcome(msgspec.Struct):
    """What came of a torture.

    Attributes:
        name: The torture's.
        tried: How often each fault happened.
        verdict: What the judge found.
        seconds: How long it took.
        notes: What was measured besides.
        failure: Why it failed; empty when it did not.
        skipped: Why it could not be tried here; empty when it was.
    """

    name: str
    tried: dict[str, int] = {}
    verdict: Verdict = msgspec.field(default_factory=Verdict)
    seconds: float = 0.0
    notes: list[str] = []
    failure: str = ""
    skipped: str = ""


def torture(
    name: str, *, faults: Sequence[str], share: float = 1.0
) -> Callable[[Function], Function]:
    """Make a torture of a function; the name says what is tried."""

    def register(function: Function) -> Function:
        assert name not in _tortures, f"there are two tortures of the name {name!r}"
        _tortures[name] = Torture(name, tuple(faults), share, function)
        return function

    return register


def all_tortures() -> dict[str, Torture]:
    """Return the tortures of all chambers, by name, in the order of their chambers."""
    for chamber in pkgutil.iter_modules(chambers.__path__, f"{chambers.__name__}."):
        importlib.import_module(chamber.name)
    return dict(_tortures)


def carry_out(chosen: Torture, folder: Path, seed: str, budget_seconds: float) -> Outcome:
    """Carry out a torture in a folder of its own; never raises for what it finds."""
    began = time.monotonic()
    outcome = Outcome(chosen.name)
    house = House(folder, f"{seed}/{chosen.name}", budget_seconds)
    try:
        with house:
            chosen.function(house)
    except Unavailable as error:
        outcome.skipped = str(error)
    except Exception:  # noqa: BLE001  # one torture that breaks must not hide the others
        outcome.failure = traceback.format_exc()
    outcome.tried = {fault: house.tried[fault] for fault in chosen.faults}
    outcome.verdict, outcome.notes = house.verdict, house.notes
    outcome.failure = outcome.failure or _what_is_wrong(chosen, house.verdict, house.tried)
    if outcome.skipped:
        outcome.failure = ""
    outcome.seconds = time.monotonic() - began
    return outcome


def _what_is_wrong(chosen: Torture, verdict: Verdict, tried: Counter[str]) -> str:
    wrong = verdict.wrong[:]
    wrong += [f"it never happened: {fault}" for fault in chosen.faults if not tried[fault]]
    wrong += [f"it was not declared: {fault}" for fault in tried if fault not in chosen.faults]
    if not verdict.calls:
        wrong.append("nothing was judged")
    return "\n".join(wrong)
