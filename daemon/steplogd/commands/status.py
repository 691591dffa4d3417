"""`steplogd status`: who serves the home, how far each backend is behind, what was set aside."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table

from steplog.home import database_path, spool_folder
from steplog.served import holder_of
from steplogd.config import find_config, load_config
from steplogd.intake.tail import list_spools
from steplogd.spools import unfolded_bytes
from steplogd.store.cursors import Backlog, Cursors
from steplogd.store.database import Database
from steplogd.store.run_logs import RunLogs

if TYPE_CHECKING:
    import argparse
    import sqlite3

    from steplogd.config import Config


class Status(msgspec.Struct, frozen=True):
    """What `steplogd status --json` prints.

    Attributes:
        home: The home.
        pid: The process id of the daemon that serves it; None when none does.
        spool_bytes: Bytes that are not folded yet.
        runs: How many runs there are, by status.
        set_aside: Pieces of spools that are no event.
        lost: Calls that writers could not record, and lines that are missing.
        backends: How far each backend is behind.
    """

    home: str
    pid: int | None
    spool_bytes: int
    runs: dict[str, int]
    set_aside: int
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
        backends = [cursors.backlog(backend.name) for backend in config.backends]
    finally:
        database.close()
    sizes = dict(list_spools(spool_folder(config.home)))
    spool_bytes = sum(unfolded_bytes(config.home, sizes, offsets).values())
    pid = holder_of(config.home)
    return Status(str(config.home), pid, spool_bytes, runs, set_aside, lost, backends)


def _one(connection: sqlite3.Connection, sql: str) -> int:
    (number,) = connection.execute(sql).fetchone()
    return int(number)


def _print(status: Status) -> None:
    console = Console(highlight=False, soft_wrap=True)
    served = f"served by process {status.pid}" if status.pid else "no daemon serves it"
    console.print(f"home       {status.home} ({served})", markup=False)
    runs = ", ".join(f"{count:,} {name}" for name, count in sorted(status.runs.items()))
    console.print(f"runs       {runs or 'none yet'}")
    console.print(f"to fold    {status.spool_bytes:,} bytes")
    console.print(f"set aside  {status.set_aside:,} pieces of spools that are no event")
    console.print(f"lost       {status.lost:,} events that a task could not record")
    if not status.backends:
        console.print("backends   none: the run log has it all")
        return
    table = Table("backend", "runs behind", "observations behind", "dead letters", "state")
    for backlog in status.backends:
        state = f"failing: {backlog.error}" if backlog.error else "ok"
        numbers = (f"{n:,}" for n in (backlog.runs, backlog.observations, backlog.dead_letters))
        table.add_row(backlog.backend, *numbers, state)
    console.print(table)
