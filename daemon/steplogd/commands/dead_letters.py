"""`steplogd dead-letters`: what backends refused, and what is to become of it."""

from __future__ import annotations

import contextlib
import datetime
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.cli.terminal import align, counted, sanitise, show_value
from steplog.documents import Items, write_json
from steplog.home import database_path
from steplogd.commands.choosing import check_backend, check_run
from steplogd.commands.delivering import add_waiting, deliver_to
from steplogd.config import find_config, load_config
from steplogd.logs.log import set_up_log
from steplogd.store.database import Database
from steplogd.store.letters import Letters

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from steplogd.config import Config
    from steplogd.store.letters import Letter

_MAX_ROWS: Final = 50
_MAX_VALUE: Final = 30
_MAX_KEY: Final = 60
_DESCRIPTION: Final = """\
Lists what a backend will never take as it is: where it stands in the run log, and why it was
refused. `retry` has it sent once more, after somebody repaired what stood in its way; what is taken
then is a dead letter no more. Exit status of `retry`: 0 all of it was taken, 1 some was refused
again, 75 some is still to be sent. `discard` forgets the letters. The run log keeps the values, the
tracker goes on to lack them, and `steplogd verify` to say so."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "dead-letters",
        help="what was set aside, where it stood, and why; `retry` and `discard` act on it",
        description=_DESCRIPTION,
        epilog="example: steplogd dead-letters retry --backend mlflow",
    )
    parser.add_argument(
        "action", nargs="?", choices=("retry", "discard"), help="without one they are listed"
    )
    parser.add_argument("--backend", metavar="NAME", help="those of this backend alone")
    parser.add_argument("--run", metavar="RUN", help="those of this run alone")
    parser.add_argument("--json", action="store_true", help="list all as one JSON array")
    add_waiting(parser)
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """List the letters, or act on them; returns 0, or for `retry` what became of it."""
    config = load_config(find_config(arguments.config))
    configured = [backend.name for backend in config.backends]
    is_acting = arguments.action is not None
    with _letters(config, arguments.run, is_acting=is_acting) as letters:
        # Letters outlive a backend that was taken out of the configuration.
        known = configured if arguments.action == "retry" else [*configured, *letters.backends()]
        if arguments.backend is not None:
            check_backend(arguments.backend, known)
            known = [arguments.backend]
        if arguments.action == "discard":
            count = letters.discard(known, arguments.run)
            sys.stdout.write(f"{counted(count, 'dead letter')} discarded\n")
            return 0
        if arguments.action is None:
            _list(letters.of(known, arguments.run), as_json=arguments.json)
            return 0
        count = letters.mark_due(known, arguments.run)
    return _retry(config, known, count, arguments)


def _retry(config: Config, backends: list[str], count: int, arguments: argparse.Namespace) -> int:
    set_up_log(logging.WARNING)  # a bar shows the rest
    if arguments.no_wait or not count:
        sys.stdout.write(f"{counted(count, 'dead letter')} to be sent once more\n")
        return 0
    status = deliver_to(config, arguments.timeout, backends)
    with _letters(config, arguments.run) as letters:
        left = letters.of(backends, arguments.run)
    refused = sum(1 for letter in left if not letter.is_due)
    taken = max(0, count - len(left))
    sys.stdout.write(
        f"{counted(count, 'dead letter')} sent once more: {taken:,} taken, {refused:,} refused\n"
    )
    return status or int(bool(refused))


@contextlib.contextmanager
def _letters(config: Config, run_id: str | None, *, is_acting: bool = False) -> Iterator[Letters]:
    path = database_path(config.home)
    with contextlib.closing(Database(path, is_onlooker=not is_acting)) as database:
        check_run(run_id, database)
        yield Letters(database)


def _list(letters: list[Letter], *, as_json: bool) -> None:
    if as_json:
        write_json(Items(map(msgspec.structs.asdict, letters)), sys.stdout.write)
        return
    if not letters:
        sys.stdout.write("no dead letters\n")
        return
    header = ("BACKEND", "RUN", "TASK", "KEY", "STEP", "VALUE", "REFUSED", "REASON")
    rows = [[sanitise(cell) for cell in _cells(letter)] for letter in letters[:_MAX_ROWS]]
    sys.stdout.writelines(f"{line}\n" for line in align([header, *rows]))
    if len(letters) > _MAX_ROWS:
        sys.stdout.write(f"and {len(letters) - _MAX_ROWS:,} more: --json has them all\n")


def _cells(letter: Letter) -> tuple[str, ...]:
    when = datetime.datetime.fromtimestamp(letter.refused_ts / 1e6).astimezone()
    refused = when.strftime("%Y-%m-%d %H:%M:%S") + (", to be sent again" if letter.is_due else "")
    if not letter.position:
        what: tuple[str, ...] = ("", "the run's own state", "", "")
    else:
        value = show_value(letter.value, _MAX_VALUE)
        what = (".".join(letter.task), letter.key[:_MAX_KEY], str(letter.step), value)
    return letter.backend, letter.run_id, *what, refused, letter.reason
