"""`steplogd uninstall`: end the service and remove what `install` wrote; data is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from steplogd.commands.install import add_kind, chosen_kind, say, say_plan
from steplogd.installation.carrying_out import carry_out, look, refuse_where_impossible
from steplogd.installation.planning import plan_uninstall

if TYPE_CHECKING:
    import argparse

_DESCRIPTION: Final = """\
Stops and disables the service, and removes the files that `steplogd install` wrote. The home with
all that was tracked, the configuration and the user of the shared daemon stay as they are: tasks go
on to append, and a later daemon takes it up. Without an option root means --system, and everybody
else --user."""

_LEFT: Final = "home, configuration, and whom the daemon ran as, are left as they were"


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "uninstall",
        help="end the service and remove its units; data is left alone",
        description=_DESCRIPTION,
        epilog="example: steplogd uninstall --user --dry-run",
    )
    add_kind(parser)
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Uninstall the service; returns 0.

    Raises:
        InstallError: It cannot be uninstalled.
    """
    kind = chosen_kind(arguments)
    if not arguments.dry_run:
        refuse_where_impossible(kind)
    steps = plan_uninstall(kind, look(kind))
    if arguments.dry_run:
        say_plan(steps)
        return 0
    for step in steps:
        say(str(step))
        carry_out(step)
    say(_LEFT if steps else "nothing to do: it is not installed")
    return 0
