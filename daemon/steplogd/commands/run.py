"""`steplogd run`: watch and serve until told to stop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import anyio

from steplogd.config import find_config, load_config
from steplogd.holder import hold
from steplogd.log import set_up_log
from steplogd.service import Service

if TYPE_CHECKING:
    import argparse

    from steplogd.config import Config

EXAMPLE = "steplogd run --config /etc/steplog/steplogd.toml"


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "run",
        help="watch the spools, fold them, and feed the backends, until told to stop",
        description="Watch the spools, fold them, and feed the backends, until told to stop.",
        epilog=f"example: {EXAMPLE}",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; returns 0."""
    config = load_config(find_config(arguments.config))
    set_up_log()
    with hold(config.home):
        anyio.run(_serve, config)
    return 0


async def _serve(config: Config) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with Service(config).started():
            async for _ in signals:
                break
