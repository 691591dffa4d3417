"""`steplogd status`: who serves the home, how far each backend is behind, what was set aside."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steplog.cli.terminal import counted, sanitise
from steplog.home import database_path, spool_folder
from steplog.served import holder_of
from steplogd.config import find_config, load_config
from steplogd.folding.spools import unfolded
from steplogd.intake.tail import list_spools
from steplogd.retention.archive import Archive
from steplogd.retention.archived_backlog import add_archived
from steplogd.store.archived import Archived
from steplogd.store.cursors import Backlog, Cursors
from steplogd.store.database import Database
from steplogd.store.run_logs import RunLogs

if TYPE_CHECKING:
    import argparse
    import sqlite3

    from steplogd.config import Config

_MOST_RUNS: Final = 5
_IS_READ_ANEW: Final = (
    "EXISTS (SELECT 1 FROM set_aside WHERE set_aside.run_no = run.run_no AND size = 0)"
)


class Status(msgspec.Struct, frozen=True):
    """What `steplogd status --json` prints.

    Attributes:
        home: The home.
        pid: The process id of the daemon that serves it; None when none does.
        spool_bytes: Bytes that are not folded yet.
        unreadable: How many spools there are that cannot be read.
        runs: How many runs there are, by status.
        set_aside: Pieces of spools that are no event.
        set_aside_runs: The latest runs that have such pieces.
        read_anew: The latest runs whose spool was truncated or replaced while it was folded.
        lost: Calls that writers could not record, and lines that are missing.
        backends: How far each backend is behind.
    """

    home: str
    pid: int | None
    spool_bytes: int
    unreadable: int
    runs: dict[str, int]
    set_aside: int
    set_aside_runs: list[str]
    read_anew: list[str]
    lost: int
    backends: list[Backlog]


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "status",
        help="backlog per backend, runs, dead letters",
        description="Say who serves the home, how far each backend is behind, what was set aside.",
        epilog="example: steplogd status --json",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the status; returns 0."""
    status = read_status(load_config(find_config(arguments.config)))
    if arguments.json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(status)) + "\n")
    else:
        _print(status)
    return 0


def read_status(config: Config) -> Status:
    """Read the status from the store; changes nothing but to make an empty store when absent."""
    database = Database(database_path(config.home), is_onlooker=True)
    try:
        cursors, offsets = Cursors(database), RunLogs(database).checkpoints()
        with database.reading() as connection:
            runs = dict(connection.execute("SELECT status, count(*) FROM run GROUP BY status"))
            lost = _one(connection, "SELECT coalesce(sum(lost + gaps), 0) FROM run")
            set_aside = _one(connection, "SELECT coalesce(sum(malformed), 0) FROM run")
            malformed, anew = _latest(connection, "malformed"), _latest(connection, _IS_READ_ANEW)
        backends = [cursors.backlog(backend.name) for backend in config.backends]
        sizes = dict(list_spools(spool_folder(config.home)))
        left, archive = unfolded(config.home, sizes, offsets), Archive(config.home)
        add_archived(left, archive, Archived(database), archive.places(is_onlooker=True))
    finally:
        database.close()
    return Status(
        home=str(config.home),
        pid=holder_of(config.home),
        spool_bytes=sum(left.size_bytes.values()),
        unreadable=len(left.unreadable),
        runs=runs,
        set_aside=set_aside,
        set_aside_runs=malformed,
        read_anew=anew,
        lost=lost,
        backends=backends,
    )


def _latest(connection: sqlite3.Connection, condition: str) -> list[str]:
    """Return the ids of the latest runs of which something holds."""
    sql = f"SELECT run_id FROM run WHERE {condition} ORDER BY run_no DESC LIMIT {_MOST_RUNS}"  # noqa: S608
    return [run_id for (run_id,) in connection.execute(sql)]


def _one(connection: sqlite3.Connection, sql: str) -> int:
    (number,) = connection.execute(sql).fetchone()
    return int(number)


def _print(status: Status) -> None:
    served = f"served by process {status.pid}" if status.pid else "no daemon serves it"
    runs = ", ".join(f"{count:,} {name}" for name, count in sorted(status.runs.items()))
    unreadable = counted(status.unreadable, "spool")
    cannot = f", and {unreadable} cannot be read" if status.unreadable else ""
    look = f": steplog show {status.set_aside_runs[0]} --set-aside" if status.set_aside else ""
    lines = [
        f"home       {status.home} ({served})",
        f"runs       {runs or 'none yet'}",
        f"to fold    {status.spool_bytes:,} bytes{cannot}",
        f"set aside  {counted(status.set_aside, 'piece')} of spools that can be no event{look}",
        f"lost       {counted(status.lost, 'event')} that a task could not record",
    ]
    if status.read_anew:
        names = ", ".join(status.read_anew)
        lines.append(f"read anew  spools that were truncated or replaced: {names}")
    if not status.backends:
        lines.append("backends   none: the run log has it all")
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text(sanitise(line)))
    if status.backends:
        console.print(_table(status.backends))


def _table(backends: list[Backlog]) -> Table:
    table = Table("backend", "runs behind", "observations behind", "dead letters", "state")
    for backlog in backends:
        state = f"failing: {backlog.error}" if backlog.error else "ok"
        numbers = (f"{n:,}" for n in (backlog.runs, backlog.observations, backlog.dead_letters))
        # As texts, so that nothing which a tracker said is taken for markup.
        table.add_row(*(Text(sanitise(cell)) for cell in (backlog.backend, *numbers, state)))
    return table
