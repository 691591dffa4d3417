"""`steplogd replay`: send again from the start what a backend lost, or never had."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.terminal import counted, sanitise
from steplog.home import database_path
from steplogd.commands.choosing import check_backend, check_run
from steplogd.commands.delivering import add_waiting, deliver_to
from steplogd.config import find_config, load_config
from steplogd.logs.log import set_up_log
from steplogd.store.database import Database
from steplogd.store.letters import Letters
from steplogd.store.standings import Standings

if TYPE_CHECKING:
    import argparse

    from steplogd.config import Config

_DESCRIPTION: Final = """\
Sends one run, or all of them, to a backend again from the start: for a backend that was added late,
or one that lost what it had. Nothing arrives twice: a tracker takes what it has as the same again.
What it refused is sent again with the rest. The daemon that serves the home does it; without one
this command does. Exit status 0: all of it was sent. 75: some of it was not, but still will be."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "replay",
        help="send again from the start: for a backend added late, or one that lost its data",
        description=_DESCRIPTION,
        epilog="example: steplogd replay mlflow blazing-colden-0544",
    )
    parser.add_argument("backend", metavar="BACKEND", help="its name, or its type without one")
    parser.add_argument("run", metavar="RUN", nargs="?", help="the run; all without it")
    add_waiting(parser)
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Set the cursor back, and wait until it is where it was; returns 0, or 75 if it is not."""
    config = load_config(find_config(arguments.config))
    set_up_log(logging.WARNING)  # a bar shows the rest
    name, run_id = arguments.backend, arguments.run
    check_backend(name, [backend.name for backend in config.backends])
    count = _set_back(config, name, run_id)
    shown, runs = sanitise(name), counted(count, "run")
    if arguments.no_wait or not count:
        sys.stdout.write(f"{shown}: {runs} to be sent again\n")
        return 0
    status = deliver_to(config, arguments.timeout, [name])
    if status == 0:
        sys.stdout.write(f"{shown}: {runs} sent again\n")
    if refused := _refused(config, name, run_id):
        sys.stdout.write(f"{shown}: {refused:,} refused again; see `steplogd dead-letters`\n")
    return status


def _set_back(config: Config, backend: str, run_id: str | None) -> int:
    with contextlib.closing(Database(database_path(config.home))) as database:
        check_run(run_id, database)
        return Standings(database).set_back(backend, run_id)


def _refused(config: Config, backend: str, run_id: str | None) -> int:
    database_file = database_path(config.home)
    with contextlib.closing(Database(database_file, is_onlooker=True)) as database:
        return len(Letters(database).of([backend], run_id))
