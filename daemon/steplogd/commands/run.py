"""`steplogd run`: watch and serve until told to stop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import anyio

from steplogd.config import find_config, load_config
from steplogd.holder import hold
from steplogd.log import set_up_log
from steplogd.service import first_of
from steplogd.serving import serve
from steplogd.shared_home import refuse_unshareable
from steplogd.store.breakage import StoreError

if TYPE_CHECKING:
    import argparse

    from anyio.abc import TaskStatus

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
    refuse_unshareable(config)
    with hold(config.home):
        try:
            anyio.run(_serve, config)
        except BaseExceptionGroup as group:
            raise first_of(group) from None
    return 0


async def _serve(config: Config) -> None:
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(_await_signal, stop)
        try:
            await serve(config, lambda _: stop.wait(), stop)
        except StoreError:
            if not stop.is_set():
                raise
        tasks.cancel_scope.cancel()


async def _await_signal(stop: anyio.Event, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            stop.set()
