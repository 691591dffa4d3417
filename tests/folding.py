"""Spools cut as a reader that looks now and then would, and folded piece by piece: for tests."""

from __future__ import annotations

from typing import Any

import msgspec

from steplog.decoding import complete, decode
from steplogd.core.fold import Fold
from steplogd.core.state import Attempt, Changes, RunState, Task
from tests.lines import ARRIVED_TS, fold


def pieces(spool: bytes, cuts: list[int]) -> list[bytes]:
    """Cut a spool as a reader that looks now and then would: up to the last LF that is there."""
    read, found = 0, []
    for end in [*sorted(cut % (len(spool) + 1) for cut in cuts), len(spool)]:
        whole = complete(spool[read:end])
        found.append(spool[read : read + whole])
        read += whole
    return found


def merge(parts: list[Changes]) -> dict[str, Any]:
    """Return what all changes together tell the store."""
    whole: dict[str, Any] = {}
    for part in parts:
        for name, change in msgspec.structs.asdict(part).items():
            if isinstance(change, list):
                whole[name] = whole.get(name, []) + change
            elif isinstance(change, (set, dict)):
                whole[name] = whole.get(name, type(change)()) | change
    return {name: sorted(told) if isinstance(told, set) else told for name, told in whole.items()}


def fold_pieces(parts: list[bytes]) -> tuple[RunState, dict[str, Any]]:
    """Fold one piece after the other; return the state and all changes."""
    folding = Fold(RunState("r"))
    changes, offset = [], 0
    for part in parts:
        folding.apply(decode(part, offset), ARRIVED_TS)
        changes.append(folding.take_changes())
        offset += len(part)
    return folding.state, merge(changes)


def ended(*lines: bytes, into: Fold | None = None) -> Fold:
    """Fold lines, and then say that nobody is there any more."""
    folding = fold(*lines, into=into)
    folding.end_run()
    return folding


def outcome(folding: Fold) -> tuple[str, bool]:
    """Return the status, and whether the run was killed."""
    return folding.state.status, folding.state.killed


def task(folding: Fold, name: str = "train") -> Task:
    """Return a task by its name."""
    return folding.state.task_by_path[(name,)]


def attempt(folding: Fold, name: str = "train") -> Attempt:
    """Return the latest attempt of a task."""
    latest = task(folding, name).attempt
    assert latest is not None
    return latest
