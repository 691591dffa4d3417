"""The way into `steplog.db`: opened so that nothing can be written, and one run's row in it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.errors import AttemptNotFound, RunNotFound, StoreUnreadable
from steplog.home import database_path
from steplog.names import check_run_id
from steplog.values import load, map_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION: Final = 3
"""The version of the schema that this package reads, as the daemon sets it in `user_version`."""

_BUSY_SECONDS: Final = 5.0


class NothingFolded(StoreUnreadable):
    """No daemon has ever folded anything in this home."""


class RunRow(msgspec.Struct, frozen=True):
    """A run, without its tasks; times are microseconds since the epoch.

    Attributes:
        killed: Somebody vanished from it without leaving.
        observations: How many values were tracked.
        lost: Calls that writers said they could not record.
        gaps: Sequence numbers that are missing.
        repeated: Lines that came twice, and count once.
        unknown: Lines of kinds that the daemon does not know.
        malformed: Pieces of the spool that are no event.
    """

    run_no: int
    run_id: str
    tag: str
    status: str
    killed: bool
    message: str
    start_ts: int
    end_ts: int | None
    parameters: dict[str, Any]
    config: dict[str, Any]
    observations: int
    lost: int
    gaps: int
    repeated: int
    unknown: int
    malformed: int


@contextlib.contextmanager
def snapshot(source: Path | sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Give a view of the store that nobody's commit changes, as long as the block runs.

    Args:
        source: The home, or an open connection. Temporary tables made in the block vanish with it.

    Raises:
        NothingFolded: No daemon has folded anything here yet.
        StoreUnreadable: The store is of another version, or cannot be read; also when that shows
            only within the block.
    """
    is_open = isinstance(source, sqlite3.Connection)
    connection = source if isinstance(source, sqlite3.Connection) else _open(source)
    try:
        connection.execute("SAVEPOINT steplog_reader")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK TO steplog_reader")
            connection.execute("RELEASE steplog_reader")
    except sqlite3.Error as error:
        raise StoreUnreadable(f"the run log cannot be read ({error}); {_LOOK}") from error
    finally:
        if not is_open:
            connection.close()


def rows(connection: sqlite3.Connection, sql: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
    """Run a query; a single dict is taken for named parameters.

    The rows are plain tuples, whatever row factory the connection's owner has set.
    """
    cursor = connection.cursor()
    cursor.row_factory = None
    named = parameters[0] if parameters and isinstance(parameters[0], dict) else parameters
    return cursor.execute(sql, named)


def find_run(connection: sqlite3.Connection, run_id: str) -> RunRow:
    """Return the run of this id.

    Raises:
        InvalidName: The run id is none.
        RunNotFound: The run log has no such run.
    """
    for row in rows(connection, f"{RUNS} WHERE run_id = ?", check_run_id(run_id)):
        return run_row(row)
    raise RunNotFound(
        f"no run {run_id} is in the run log; `steplog ls` lists the runs, and "
        "`steplogd drain` folds what was tracked while no `steplogd run` was there to do it"
    )


def tasks_of_attempt(connection: sqlite3.Connection, run: RunRow, number: int) -> set[int]:
    """Return the numbers of the run's tasks that have an attempt of this number.

    Raises:
        AttemptNotFound: None has.
    """
    ((last,),) = rows(connection, "SELECT max(number) FROM attempt WHERE run_no = ?", run.run_no)
    if last is None:
        raise AttemptNotFound(f"no task of run {run.run_id} has attempts; leave the attempt out")
    if not 1 <= number <= last:
        raise AttemptNotFound(
            f"no task of run {run.run_id} has an attempt {number}; they go from 1 to {last}"
        )
    sql = "SELECT task_no FROM attempt WHERE run_no = ? AND number = ?"
    return {task_no for (task_no,) in rows(connection, sql, run.run_no, number)}


def text(column: str | bytes) -> str:
    """Return a column as text; it is bytes where there are lone surrogates in it."""
    return column if isinstance(column, str) else column.decode("utf-8", "surrogatepass")


def task_path(column: str | bytes) -> tuple[str, ...]:
    """Return the names from the outermost task to the one of this `task.path`."""
    return tuple(load(column.encode() if isinstance(column, str) else column))


RUNS: Final = (
    "SELECT run_no, run_id, tag, status, killed, message, start_ts, end_ts, parameters, config, "
    "position, lost, gaps, repeated, unknown, malformed FROM run"
)

_LOOK: Final = "see that this user may read and write the folder that it lies in, or ask its owner"
_START: Final = "start `steplogd run`, or fold what was tracked with `steplogd drain`"


def _open(home: Path) -> sqlite3.Connection:
    path = database_path(home).absolute()
    _check_present(path)
    uri = f"{path.as_uri()}?mode=ro"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StoreUnreadable(f"{path} cannot be read ({error}); {_LOOK}") from error
    return connection


def _check_present(path: Path) -> None:
    """Tell an absent file from one that must not be seen: SQLite has one error for both."""
    try:
        os.stat(path)  # noqa: PTH116  # Path.exists hides what is wrong
    except FileNotFoundError:
        raise NothingFolded(f"nothing is in the run log at {path} yet; {_START}") from None
    except OSError as error:
        raise StoreUnreadable(f"{path} cannot be read ({error.strerror}); {_LOOK}") from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise NothingFolded(f"nothing is in the run log at {path} yet; {_START}")
    if version != SCHEMA_VERSION:
        raise StoreUnreadable(
            f"{path} is of schema version {version}, and this steplog reads version "
            f"{SCHEMA_VERSION}; use the steplog of the same release as the steplogd that wrote it"
        )
    # Temporary tables and sorts grow with the run: they go to a file that is deleted at once.
    connection.execute("PRAGMA temp_store = FILE")


def run_row(row: tuple[Any, ...]) -> RunRow:
    """Return a row that `RUNS` found."""
    run_no, run_id, tag, status, killed, message, start, end, parameters, config, *counts = row
    told = text(tag), status, bool(killed), text(message), start, end
    return RunRow(run_no, run_id, *told, map_from_json(parameters), map_from_json(config), *counts)
