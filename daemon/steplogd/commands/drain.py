"""`steplogd drain`: fold and send all that is there, then exit."""

from __future__ import annotations

import functools
import json
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from steplogd.config import find_config, load_config
from steplogd.holder import hold
from steplogd.log import set_up_log
from steplogd.service import Remaining, Service

if TYPE_CHECKING:
    import argparse

    from steplogd.config import Config

EXIT_BEHIND: Final = 75  # EX_TEMPFAIL of sysexits.h: try again later
_REFRESH_SECONDS: Final = 0.2


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "drain",
        help="fold and send all that is there, then exit: 0 done, 75 some backend still behind",
        epilog="example: steplogd drain --timeout 60",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.add_argument("--timeout", metavar="S", type=_seconds, help="give up after S seconds")
    parser.add_argument("--json", action="store_true", help="print what is left as one JSON object")
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Drain; returns 0 when all is folded and sent, 75 when something is left."""
    config = load_config(find_config(arguments.config))
    set_up_log(logging.WARNING)  # a bar shows the rest
    with hold(config.home):
        left = anyio.run(functools.partial(_drain, config, arguments.timeout))
    behind = [backlog for backlog in left.backends if backlog.runs]
    is_done = not behind and not left.spool_bytes
    if arguments.json:
        sys.stdout.write(json.dumps({"done": is_done, **msgspec.to_builtins(left)}) + "\n")
    elif not is_done:
        for backlog in behind:
            why = f": {backlog.error}" if backlog.error else ""
            sys.stderr.write(
                f"steplogd: {backlog.backend} is still behind by {backlog.observations:,} "
                f"observations of {backlog.runs:,} runs{why}\n"
            )
    return 0 if is_done else EXIT_BEHIND


async def _drain(config: Config, timeout_seconds: float | None) -> Remaining:
    service = Service(config)
    async with service.started(), anyio.create_task_group() as tasks:
        tasks.start_soon(_show_progress, service)
        with anyio.move_on_after(timeout_seconds if timeout_seconds is not None else float("inf")):
            await service.drained()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            return await service.remaining()
    raise AssertionError


async def _show_progress(service: Service) -> None:
    """Draw a bar for the spools and one for each backend, where there is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}
        while True:
            left = await service.remaining()
            _draw(progress, bars, "folded, bytes", left.spool_bytes)
            for backlog in left.backends:
                _draw(progress, bars, f"sent to {backlog.backend}", backlog.observations)
            await anyio.sleep(_REFRESH_SECONDS)


def _draw(progress: Progress, bars: dict[str, TaskID], name: str, left: int) -> None:
    """Show what is left as a part of the most that there ever was."""
    if name not in bars:
        bars[name] = progress.add_task(name, total=left)
    total = max(left, int(progress.tasks[bars[name]].total or 0))
    progress.update(bars[name], total=total, completed=total - left)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds
