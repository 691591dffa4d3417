"""What commands that wait for delivery share: by whom it is done, until when, and the bars."""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio
from anyio import to_thread
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from steplog.cli.terminal import counted, sanitise
from steplog.errors import SteplogError
from steplogd.bystander import Bystander
from steplogd.exit_statuses import EXIT_LATER
from steplogd.first_error import first_of
from steplogd.holder import HomeHeld, hold
from steplogd.serving import serve
from steplogd.shared_home import refuse_unshareable
from steplogd.store.breakage import StoreError, StoreReplaced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator

    from steplogd.config import Config
    from steplogd.remaining import Remaining
    from steplogd.service import Service

_REFRESH_SECONDS: Final = 0.2


class NotServed(SteplogError):
    """The daemon of the home was started before the backend was configured."""


class Goal(NamedTuple):
    """What is waited for, in a service of our own and beside another daemon.

    Attributes:
        reached: Returns when the service has done it.
        is_reached: Tells whether the daemon that a bystander sees has done it.
    """

    reached: Callable[[Service], Awaitable[None]]
    is_reached: Callable[[Bystander], bool]


def deliver(config: Config, timeout_seconds: float | None, goal: Goal) -> tuple[Remaining, bool]:
    """Serve the home, or wait for the daemon that does, until the goal is reached.

    Returns:
        What is left, and whether the goal was reached in time.
    """
    refuse_unshareable(config)
    try:
        with hold(config.home):
            return anyio.run(_by_itself, config, timeout_seconds, goal)
    except HomeHeld:  # its daemon is at it already
        return anyio.run(_by_another, config, timeout_seconds, goal)


def add_waiting(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that has something sent, and waits for it."""
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.add_argument("--timeout", metavar="S", type=seconds, help="wait for S seconds at most")
    parser.add_argument(
        "--no-wait", action="store_true", help="leave it to the daemon, or to the next drain"
    )


def deliver_to(config: Config, timeout_seconds: float | None, backends: Collection[str]) -> int:
    """Have backends get what they are behind with; returns 0, or says what is left and returns 75.

    Raises:
        NotServed: The daemon that holds the home knows nothing of one of them.
    """

    def is_delivered(bystander: Bystander) -> bool:
        for name in set(backends) - bystander.served():
            raise NotServed(
                f"The steplogd that serves {config.home} does not deliver to {name!r}: "
                "start it again with this configuration, and it sends all of it."
            )
        return bystander.is_delivered(backends)

    goal = Goal(lambda service: service.delivered(backends), is_delivered)
    left, is_done = deliver(config, timeout_seconds, goal)
    if not is_done:
        sys.stderr.writelines(
            f"steplogd: {sanitise(line)}\n" for line in what_is_behind(left, backends)
        )
    return 0 if is_done else EXIT_LATER


def seconds(text: str) -> float:
    """Read the value of `--timeout`."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; write 60, say")
    return number


def what_is_behind(left: Remaining, backends: Collection[str]) -> Iterator[str]:
    """Say in one sentence each which of these backends are still behind, and why."""
    for backlog in left.backends:
        if backlog.runs and backlog.backend in backends:
            why = f": {backlog.error}" if backlog.error else ""
            behind = counted(backlog.observations, "observation")
            runs = counted(backlog.runs, "run")
            yield f"{backlog.backend} is still behind by {behind} of {runs}{why}"


async def _by_itself(
    config: Config, timeout_seconds: float | None, goal: Goal
) -> tuple[Remaining, bool]:
    stop = anyio.Event()
    give_up_at = anyio.current_time() + (
        float("inf") if timeout_seconds is None else timeout_seconds
    )

    async def reach(service: Service) -> tuple[Remaining, bool]:
        is_done = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_show_progress, service.remaining)
            with anyio.CancelScope(deadline=give_up_at):
                await goal.reached(service)
                is_done = True
            tasks.cancel_scope.cancel()
        return await service.remaining(), is_done

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_stop_at, give_up_at, stop)
            reached = await serve(config, reach, stop)
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_of(group) from None
    return reached


async def _stop_at(when: float, stop: anyio.Event) -> None:
    await anyio.sleep_until(when)
    stop.set()


async def _by_another(
    config: Config, timeout_seconds: float | None, goal: Goal
) -> tuple[Remaining, bool]:
    patience_seconds = float("inf") if timeout_seconds is None else timeout_seconds
    give_up_at = anyio.current_time() + patience_seconds
    while True:
        bystander = await to_thread.run_sync(Bystander, config)
        try:
            return await _beside(bystander, give_up_at, goal)
        except StoreReplaced:  # the daemon has set it aside, and folds all again
            if anyio.current_time() >= give_up_at:
                raise
        finally:
            await to_thread.run_sync(bystander.close)
        await anyio.sleep(_REFRESH_SECONDS)


async def _beside(bystander: Bystander, give_up_at: float, goal: Goal) -> tuple[Remaining, bool]:
    look = functools.partial(to_thread.run_sync, bystander.remaining)
    is_reached = functools.partial(to_thread.run_sync, goal.is_reached, bystander)
    is_done = False
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_show_progress, look)
            with anyio.CancelScope(deadline=give_up_at):
                # It is another process's doing: nothing here could wake us.
                while not (is_done := await is_reached()):  # noqa: ASYNC110
                    await anyio.sleep(_REFRESH_SECONDS)
            tasks.cancel_scope.cancel()
        return await look(), is_done
    except BaseExceptionGroup as group:
        raise first_of(group) from None


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
        bars[name] = progress.add_task(escape(sanitise(name)), total=left)
    total = max(left, int(progress.tasks[bars[name]].total or 0))
    progress.update(bars[name], total=total, completed=total - left)
