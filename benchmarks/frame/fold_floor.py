"""The floor of folding: decode the lines of spools, and insert their rows, and nothing else."""

from __future__ import annotations

import itertools
import sqlite3
import time
from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec

from steplog.events import Track
from steplogd.folding.line import PASS_BYTES
from steplogd.intake.tail import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COLUMNS: Final = 6
_decoder: Final = msgspec.json.Decoder(Track)


def floor(home: Path, rows_a_statement: int = 1) -> float:
    """Decode the spools of a home into a new database; return the seconds."""
    path = home / "floor.db"
    for old in home.glob("floor.db*"):
        old.unlink()
    database = sqlite3.connect(path, isolation_level=None)
    try:
        for sql in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", _schema()):
            database.execute(sql)
        spools = sorted((home / "spool").iterdir())
        # A pass of the daemon takes one piece of each spool, and so does a transaction here.
        most_bytes = CHUNK_BYTES if len(spools) == 1 else PASS_BYTES
        start = time.perf_counter()
        _insert_all(database, spools, most_bytes, rows_a_statement)
        return time.perf_counter() - start
    finally:
        database.close()


def _schema() -> str:
    """Return the statement that makes the daemon's own table of observations."""
    schema = resources.files("steplogd.store").joinpath("schema.sql").read_text("utf-8")
    return next(sql for sql in schema.split(";\n") if "CREATE TABLE observation" in sql)


def _insert_all(
    database: sqlite3.Connection, spools: list[Path], most_bytes: int, rows_a_statement: int
) -> None:
    left = 0
    for run_no, spool in enumerate(spools):
        position, series = itertools.count(1), dict[str, int]()
        for lines in _pieces(spool):
            if left <= 0 and database.in_transaction:
                database.execute("COMMIT")
            if not database.in_transaction:
                database.execute("BEGIN IMMEDIATE")
                left = most_bytes
            left -= len(lines)
            rows = [
                (run_no, next(position), series.setdefault(key, len(series)), e.step, e.ts, value)
                for e in _decoder.decode_lines(lines)
                for key, value in e.values.items()
            ]
            _insert(database, rows, rows_a_statement)
    database.execute("COMMIT")


def _insert(
    database: sqlite3.Connection, rows: Sequence[tuple[object, ...]], rows_a_statement: int
) -> None:
    row = f"({', '.join('?' * COLUMNS)})"
    whole = len(rows) - len(rows) % rows_a_statement if rows_a_statement > 1 else 0
    many = (rows[first : first + rows_a_statement] for first in range(0, whole, rows_a_statement))
    database.executemany(
        f"INSERT INTO observation VALUES {', '.join([row] * rows_a_statement)}",
        (list(itertools.chain.from_iterable(some)) for some in many),
    )
    database.executemany(f"INSERT INTO observation VALUES {row}", rows[whole:])


def _pieces(spool: Path) -> Iterator[bytes]:
    with spool.open("rb", buffering=0) as file:
        rest = b""
        while data := file.read(CHUNK_BYTES - len(rest)):
            data = rest + data
            whole = data.rfind(b"\n") + 1
            rest = data[whole:]
            yield data[:whole]
