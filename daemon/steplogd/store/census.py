"""The census of a store: how far backends are behind, read beside the daemon that writes it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Final

import msgspec

from steplogd.store.breakage import sorted_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_BUSY_SECONDS: Final = 1.0

# Asks after no run but those that are named: there may be 100,000 that were delivered long ago.
_OWED: Final = """
SELECT count(*), coalesce(sum(run.position - coalesce(cursor.position, 0)), 0), min(observation.ts)
FROM json_each(:run_nos) AS one CROSS JOIN run ON run.run_no = one.value
LEFT JOIN cursor ON cursor.backend = :backend AND cursor.run_no = run.run_no
LEFT JOIN observation ON observation.run_no = run.run_no
    AND observation.position = coalesce(cursor.position, 0) + 1
WHERE run.position > coalesce(cursor.position, 0) OR run.revision > coalesce(cursor.revision, 0)
"""


class BackendCensus(msgspec.Struct, frozen=True):
    """How far one backend is behind.

    Attributes:
        runs: How many runs are not delivered.
        observations: How many observations of them.
        oldest_ts: When the oldest of these was tracked, in microseconds since the epoch.
        dead_letters: How many there are.
        failing_since: Since when it has failed, likewise; None while it answers.
    """

    runs: int
    observations: int
    oldest_ts: int | None
    dead_letters: int
    failing_since: int | None


def census(path: Path, behind: Mapping[str, Sequence[int]]) -> dict[str, BackendCensus]:
    """Read how far each backend is behind, by name; never writes, and makes no store.

    By a connection of its own, so that nobody who writes or delivers waits for it.

    Args:
        path: The store.
        behind: The numbers of the runs that each backend may be behind with, by its name.

    Raises:
        StoreError: It cannot be read now.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        connected = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        with contextlib.closing(connected) as connection:
            return {name: _of(connection, name, run_nos) for name, run_nos in behind.items()}
    except sqlite3.Error as error:
        raise sorted_error(path, error) from error


def _of(connection: sqlite3.Connection, backend: str, run_nos: Sequence[int]) -> BackendCensus:
    asked = {"backend": backend, "run_nos": json.dumps(list(run_nos))}
    runs, observations, oldest_ts = connection.execute(_OWED, asked).fetchone()
    sql = "SELECT count(*) FROM dead_letter WHERE backend = :backend"
    (dead_letters,) = connection.execute(sql, asked).fetchone()
    sql = "SELECT failing_since FROM backend WHERE name = :backend"
    (failing_since,) = connection.execute(sql, asked).fetchone() or (None,)
    return BackendCensus(runs, observations, oldest_ts, dead_letters, failing_since)
