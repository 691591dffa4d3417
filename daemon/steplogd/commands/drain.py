"""`steplogd drain`: fold and send all that is there, or wait for the daemon that does so."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
from anyio import to_thread
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from steplogd.bystander import Bystander
from steplogd.config import find_config, load_config
from steplogd.holder import HomeHeld, hold
from steplogd.log import set_up_log
from steplogd.service import Remaining, Service
from steplogd.store.database import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

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
    try:
        with hold(config.home):
            left, is_done = anyio.run(_drain, config, arguments.timeout)
    except HomeHeld:  # its daemon is at it already
        left, is_done = anyio.run(_wait_for_another, config, arguments.timeout)
    is_done = is_done and not left.unreadable
    if arguments.json:
        sys.stdout.write(json.dumps({"done": is_done, **msgspec.to_builtins(left)}) + "\n")
    elif not is_done:
        sys.stderr.writelines(f"steplogd: {sentence}\n" for sentence in _what_is_left(left))
    return 0 if is_done else EXIT_BEHIND


async def _drain(config: Config, timeout_seconds: float | None) -> tuple[Remaining, bool]:
    """Drain; return what is left, and whether all that was there is done."""
    service = Service(config)
    is_done = False
    async with service.started():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_show_progress, service.remaining)
            with anyio.move_on_after(timeout_seconds):
                await service.drained()
                is_done = True
            tasks.cancel_scope.cancel()
        return await service.remaining(), is_done
    raise AssertionError


async def _wait_for_another(
    config: Config, timeout_seconds: float | None
) -> tuple[Remaining, bool]:
    """Wait until the daemon that holds the home has done what is there; return as `_drain`."""
    bystander = await to_thread.run_sync(Bystander, config)
    look = functools.partial(to_thread.run_sync, bystander.remaining)
    is_done = False
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_show_progress, look)
            with anyio.move_on_after(timeout_seconds):
                # It is another process's doing: nothing here could wake us.
                while not (is_done := await to_thread.run_sync(bystander.is_done)):  # noqa: ASYNC110
                    await anyio.sleep(_REFRESH_SECONDS)
            tasks.cancel_scope.cancel()
        return await look(), is_done
    finally:
        await to_thread.run_sync(bystander.close)


def _what_is_left(left: Remaining) -> Iterator[str]:
    if left.spool_bytes:
        yield f"{left.spool_bytes:,} bytes of spools are not folded yet"
    for run_id, reason in left.unreadable.items():
        yield f"the spool of {run_id} cannot be folded: {reason}"
    for backlog in left.backends:
        if backlog.runs:
            why = f": {backlog.error}" if backlog.error else ""
            yield (
                f"{backlog.backend} is still behind by {backlog.observations:,} "
                f"observations of {backlog.runs:,} runs{why}"
            )


async def _show_progress(look: Callable[[], Awaitable[Remaining]]) -> None:
    """Draw a bar for the spools and one for each backend, where there is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}
        while True:
            with contextlib.suppress(OSError, StoreError):  # a bar that stands still says enough
                _draw_all(progress, bars, await look())
            await anyio.sleep(_REFRESH_SECONDS)


def _draw_all(progress: Progress, bars: dict[str, TaskID], left: Remaining) -> None:
    _draw(progress, bars, "folded, bytes", left.spool_bytes)
    for backlog in left.backends:
        _draw(progress, bars, f"sent to {backlog.backend}", backlog.observations)


def _draw(progress: Progress, bars: dict[str, TaskID], name: str, left: int) -> None:
    """Show what is left as a part of the most that there ever was."""
    if name not in bars:
        bars[name] = progress.add_task(name, total=left)
    total = max(left, int(progress.tasks[bars[name]].total or 0))
    progress.update(bars[name], total=total, completed=total - left)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; write 60, say")
    return seconds
