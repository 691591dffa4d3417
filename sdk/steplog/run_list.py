"""The list of runs: which of them are asked for, found by SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.store_reader import RUNS, RunRow, rows, run_row, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLED: Final = "killed"
"""What a run that failed is as well when somebody vanished from it without leaving."""

STATUSES: Final = ("PROCESSING", "SUCCESS", "FAIL", KILLED)


class Selection(msgspec.Struct, frozen=True):
    """Which runs are asked for: all, unless something is said.

    Attributes:
        tag: Those with exactly this tag.
        statuses: Those that are any of these `STATUSES`.
        since_ts: Those that started then or later, in microseconds since the epoch.
        until_ts: Those that started before.
        limit: As many of the newest.
    """

    tag: str | None = None
    statuses: frozenset[str] = frozenset()
    since_ts: int | None = None
    until_ts: int | None = None
    limit: int | None = None


EVERYTHING: Final = Selection()

_NO_LIMIT: Final = -1


def list_runs(home: Path, selection: Selection = EVERYTHING) -> list[RunRow]:
    """Return the runs in the run log, the one that started last first.

    Raises:
        NothingFolded: No daemon has folded anything here yet.
        StoreUnreadable: The store is of another version, or cannot be read.
    """
    conditions = ["TRUE"]
    values: list[Any] = []
    for condition, asked in _conditions(selection):
        conditions.append(condition)
        values.extend(asked)
    order = "ORDER BY start_ts DESC, run_no DESC LIMIT ?"
    sql = f"{RUNS} WHERE {' AND '.join(conditions)} {order}"
    limit = _NO_LIMIT if selection.limit is None else selection.limit
    with snapshot(home) as connection:
        return [run_row(row) for row in rows(connection, sql, *values, limit)]


def run_ids(home: Path) -> set[str]:
    """Return the ids of all runs in the run log.

    Raises:
        NothingFolded, StoreUnreadable: As `list_runs`.
    """
    with snapshot(home) as connection:
        return {run_id for (run_id,) in rows(connection, "SELECT run_id FROM run")}


def _conditions(selection: Selection) -> Iterator[tuple[str, list[Any]]]:
    if selection.tag is not None:
        yield "tag = ?", [_stored(selection.tag)]
    if selection.statuses:
        marks = ", ".join("?" * len(selection.statuses))
        is_killed_asked = KILLED in selection.statuses
        yield f"(status IN ({marks}) OR killed AND ?)", [*selection.statuses, is_killed_asked]
    if selection.since_ts is not None:
        yield "start_ts >= ?", [selection.since_ts]
    if selection.until_ts is not None:
        yield "start_ts < ?", [selection.until_ts]


def _stored(tag: str) -> str:
    """Return a tag as the store has it, without lone surrogates."""
    return tag.encode("utf-8", "replace").decode()
