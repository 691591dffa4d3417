"""`steplogd drain`: fold and send all that is there, or wait for the daemon that does so."""

from __future__ import annotations

import itertools
import json
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.cli.terminal import sanitise
from steplogd.bystander import Bystander
from steplogd.commands.delivering import Goal, deliver, seconds, what_is_behind
from steplogd.config import find_config, load_config
from steplogd.exit_statuses import EXIT_LATER
from steplogd.logs.log import set_up_log
from steplogd.service import Service

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from steplogd.remaining import Remaining

_MAX_SHOWN: Final = 20
_ALL: Final = Goal(Service.drained, Bystander.is_done)


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "drain",
        help="fold and send all that is there, then exit: 0 done, 75 some backend still behind",
        description="Fold and send all that is there, or wait for the daemon that does so. "
        "Exit 0: done; 75: a spool or some backend is still behind.",
        epilog="example: steplogd drain --timeout 60",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.add_argument("--timeout", metavar="S", type=seconds, help="give up after S seconds")
    parser.add_argument("--json", action="store_true", help="print what is left as one JSON object")
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Drain; returns 0 when all is folded and sent, 75 when something is left."""
    config = load_config(find_config(arguments.config))
    set_up_log(logging.WARNING)  # a bar shows the rest
    left, is_done = deliver(config, arguments.timeout, _ALL)
    is_done = is_done and not left.unreadable
    if arguments.json:
        sys.stdout.write(json.dumps({"done": is_done, **msgspec.to_builtins(left)}) + "\n")
    elif not is_done:
        _say(left)
    return 0 if is_done else EXIT_LATER


def _say(left: Remaining) -> None:
    sys.stderr.writelines(f"steplogd: {sanitise(sentence)}\n" for sentence in _what_is_left(left))


def _what_is_left(left: Remaining) -> Iterator[str]:
    if left.spool_bytes:
        yield f"{left.spool_bytes:,} bytes of spools are not folded yet"
    for run_id, reason in itertools.islice(left.unreadable.items(), _MAX_SHOWN):
        yield f"the spool of {run_id} cannot be folded: {reason}"
    if len(left.unreadable) > _MAX_SHOWN:
        yield f"{len(left.unreadable) - _MAX_SHOWN:,} more spools cannot be: --json has them all"
    yield from what_is_behind(left, {backlog.backend for backlog in left.backends})
