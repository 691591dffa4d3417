"""`steplogd check`: say what is wrong with the configuration."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from steplog.cli.terminal import sanitise
from steplog.home import spool_folder
from steplogd.config import ConfigError, find_config, load_config
from steplogd.mounts import remote_mount, warning
from steplogd.shared_home import troubles

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="say what is wrong with the configuration; exit 78 if anything",
        description="Say what is wrong with the configuration; exit 78 if anything.",
        epilog="example: steplogd check --config steplogd.toml",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the configuration; returns 0 when it is right, and raises ConfigError otherwise.

    A home on a network file system is warned of, and no mistake.
    """
    path = find_config(arguments.config)
    config = load_config(path)
    if config.settings.shared:
        for trouble in troubles(config.home):
            raise ConfigError(f"{path}: {trouble}")
    names = ", ".join(backend.name for backend in config.backends)
    delivers = f"delivers to {names}" if names else "no backend: the run log has it all"
    shared = ", shared with other users" if config.settings.shared else ""
    said = f"{path or 'no configuration file'}: ok; home {config.home}{shared}; {delivers}"
    sys.stdout.write(f"{sanitise(said)}\n")
    if mount := remote_mount(spool_folder(config.home)):
        sys.stdout.write(f"{sanitise(f'warning: {warning(spool_folder(config.home), mount)}')}\n")
    return 0
