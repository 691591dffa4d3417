"""`steplogd run`: watch and serve until told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import anyio

from steplog.errors import SteplogError
from steplog.home import database_path
from steplogd.config import NotNow, find_config, load_config
from steplogd.delivery.secrets import without_secrets
from steplogd.first_error import first_of
from steplogd.holder import hold
from steplogd.logs.log import set_up_log
from steplogd.shared_home import refuse_unshareable
from steplogd.supervised import Supervised
from steplogd.systemd.supervisor import Supervisor

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from steplogd.config import Config
    from steplogd.meters import Meters

EXAMPLE = "steplogd run --config /etc/steplog/steplogd.toml"


class NotStarted(SteplogError):
    """The daemon cannot start now, and is to be started again."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "run",
        help="watch the spools, fold them, and feed the backends, until told to stop",
        description="Watch the spools, fold them, and feed the backends, until told to stop. "
        "SIGHUP has it read its configuration again.",
        epilog=f"example: {EXAMPLE}",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; returns 0. SIGHUP has the configuration read again.

    Raises:
        ConfigError: The configuration is wrong, so that there is no use in starting again.
        NotStarted: It cannot be told now whether it is.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # until somebody can remember it
    supervisor = Supervisor.found(os.environ, os.getpid())
    try:
        return _run(arguments, supervisor)
    except Exception as error:
        supervisor.status(without_secrets(f"failing: {error}"))
        if isinstance(error, NotNow):
            raise NotStarted(str(error)) from error
        raise
    finally:
        supervisor.close()


def _run(arguments: argparse.Namespace, supervisor: Supervisor) -> int:
    def load() -> Config:
        return load_config(find_config(arguments.config))

    config = load()
    set_up_log()
    refuse_unshareable(config)
    with hold(config.home), _metrics(config) as look_at:
        try:
            anyio.run(Supervised(config, load, supervisor, look_at).serve)
        except BaseExceptionGroup as group:
            raise first_of(group) from None
    return 0


@contextlib.contextmanager
def _metrics(config: Config) -> Iterator[Callable[[Callable[[], Meters] | None], None]]:
    """Give out metrics for the block's duration where that is configured; yield what to look at."""
    listen = config.settings.metrics_listen
    if not listen:
        yield lambda _: None
        return
    from steplogd.metrics.collector import ServiceCollector  # costs nobody else its import
    from steplogd.metrics.endpoint import giving_out

    collector = ServiceCollector(database_path(config.home))
    with giving_out(listen, collector):
        yield collector.look_at
