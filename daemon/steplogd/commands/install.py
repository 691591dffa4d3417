"""`steplogd install`: make the daemon a service of systemd, from where steplog is installed."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.terminal import sanitise
from steplogd.config import ConfigError
from steplogd.exit_statuses import EXIT_CONFIG, EXIT_HELD
from steplogd.installation import kinds
from steplogd.installation.carrying_out import (
    carry_out,
    config_home,
    look,
    property_of,
    refuse_where_impossible,
)
from steplogd.installation.earlier import given_earlier
from steplogd.installation.planning import Call, InstallError, plan_install
from steplogd.installation.preparing import (
    own_texts,
    program,
    refuse_odd_name,
    shared_config,
    shared_texts,
    texts_of_user,
)
from steplogd.installation.units import template

if TYPE_CHECKING:
    import argparse

    from steplogd.installation.kinds import Kind
    from steplogd.installation.planning import Found, Step

_DESCRIPTION: Final = """\
Checks the configuration, and exits with 78 if it is wrong; writes the units for where steplog is
installed, a virtual environment too; enables and starts the service, waits until it serves, and
says how to look at it. Run it again after an upgrade or a move: what has changed is written, and
the daemon is restarted, with the --config and STEPLOG_HOME of the first time unless others are
given. Without an option root means --system, and everybody else --user."""
_LINGERING: Final = Path("/var/lib/systemd/linger")


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "install",
        help="make it a service of systemd: units, enabled and started",
        description=_DESCRIPTION,
        epilog="example: steplogd install --user --dry-run",
    )
    add_kind(parser)
    parser.add_argument("--config", metavar="FILE", help="the configuration that it runs with")
    parser.add_argument(
        "--linger", action="store_true", help="with --user: keep it while you are logged out"
    )
    parser.set_defaults(function=run)


def add_kind(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which service is meant, and whether anything is to be done."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--user", action="store_true", help="your own daemon, over your own home")
    which.add_argument(
        "--system", action="store_true", help="one daemon for all users, under a user of its own"
    )
    which.add_argument(
        "--for",
        dest="person",
        metavar="USER",
        help="a daemon for this user, kept by root: steplogd@USER",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do not")


def run(arguments: argparse.Namespace) -> int:
    """Install the service; returns 0 when it serves.

    Raises:
        InstallError: It cannot be installed, or does not start.
        ConfigError: The configuration is wrong; nothing was done.
    """
    kind = chosen_kind(arguments)
    if arguments.person is not None and arguments.config:
        raise InstallError("--config is not for --for: each user has ~/.config/steplog for his own")
    if not arguments.dry_run:
        refuse_where_impossible(kind)
    found = look(kind)
    if arguments.person is not None:
        texts = texts_of_user(kind, arguments.person)
    else:
        _keep_what_was_given(arguments, kind, found)
        texts = (shared_texts if kind.is_system else own_texts)(kind, arguments.config)
    config = template("steplogd.toml") if kind.config is not None and not arguments.config else ""
    steps = plan_install(kind, texts, config, found)
    if arguments.linger and not kind.is_system and not _lingers():
        steps.append(Call(("loginctl", "enable-linger", _me())))
    if arguments.dry_run:
        say_plan(steps)
        return 0
    failures = _carry_out_all(kind, steps)
    _tell(kind, arguments.config)
    if failures:
        raise InstallError("; ".join(failures))
    return 0


def chosen_kind(arguments: argparse.Namespace) -> Kind:
    """Return the service that the options name; without any, the one that suits who asks.

    Raises:
        InstallError: The name of a user is none.
    """
    if arguments.person is not None:
        refuse_odd_name(arguments.person)
        return kinds.of_user(arguments.person)
    if arguments.system or (os.geteuid() == 0 and not arguments.user):
        return kinds.shared()
    return kinds.own(config_home())


def say_plan(steps: list[Step]) -> None:
    """Say what would be done."""
    for step in steps:
        say(f"would {step}")
    if not steps:
        say("would do nothing: all is as it should be")


def say(line: str) -> None:
    """Say a line to a person."""
    sys.stdout.write(f"{sanitise(line)}\n")
    sys.stdout.flush()


def _keep_what_was_given(arguments: argparse.Namespace, kind: Kind, found: Found) -> None:
    """Take from the unit that is there what this run is not given, and say so.

    Else an upgrade from another shell would put the daemon over another home.
    """
    earlier = given_earlier(kind, found)
    is_named = arguments.config or (not kind.is_system and os.environ.get("STEPLOG_CONFIG"))
    if earlier.config and not is_named:
        arguments.config = earlier.config
        say(f"keeps --config {earlier.config} from {kind.path}: name another by --config")
    if earlier.home and not os.environ.get("STEPLOG_HOME"):
        os.environ["STEPLOG_HOME"] = earlier.home
        say(f"keeps STEPLOG_HOME={earlier.home} from {kind.path}: set another one to change it")


def _carry_out_all(kind: Kind, steps: list[Step]) -> list[str]:
    """Carry out a plan; return what failed of that which holds up nothing else."""
    failures = []
    for step in steps:
        say(str(step))
        try:
            _carry_out(kind, step)
        except InstallError as error:
            if not (isinstance(step, Call) and step.is_apart):
                raise
            failures.append(str(error))
            say(f"  {error}")
    return failures


def _carry_out(kind: Kind, step: Step) -> None:
    try:
        carry_out(step)
    except InstallError:
        if not (isinstance(step, Call) and kind.unit in step.words and "enable" not in step.words):
            raise
        status = property_of(kind, "ExecMainStatus")
        look_at = f"`{' '.join(_journal(kind))}` says why"
        if status == str(EXIT_CONFIG):
            raise ConfigError(f"{kind.unit} refuses its configuration; {look_at}") from None
        if status == str(EXIT_HELD):
            raise InstallError(
                f"another steplogd holds the home, as `steplogd status` says: end that one, and "
                f"{kind.unit} takes over within a minute"
            ) from None
        raise InstallError(f"{kind.unit} did not start; {look_at}") from None


def _tell(kind: Kind, given: str | None) -> None:
    state, words = property_of(kind, "ActiveState"), property_of(kind, "StatusText")
    say(f"{kind.unit} is {state}: {words}. Look at it by:")
    status = [*program(), "status"]
    if kind.config is not None:
        path, config = shared_config(given)
        status = ["sudo", "-u", "steplog", *status, "--config", str(path)]
    elif kind.is_system:
        status = ["sudo", "-iu", kind.unit.partition("@")[2].removesuffix(".service"), *status]
    for look_by in (kind.systemctl("status", kind.unit), (*_journal(kind), "-f"), status):
        say(f"  {' '.join(look_by)}")
    if kind.config is not None:
        say(f"Tasks of all users reach it with STEPLOG_HOME={config.home} in their environment.")
    elif not kind.is_system and not _lingers():
        say(
            "It ends when you log out; `steplogd install --linger`, or `loginctl enable-linger`, "
            "keeps it, also after a reboot."
        )


def _journal(kind: Kind) -> tuple[str, ...]:
    return ("journalctl", *kind.options, "-u", kind.unit)


def _lingers() -> bool:
    return (_LINGERING / _me()).exists()


def _me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
