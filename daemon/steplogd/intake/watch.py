"""Watch: which spools somebody appended to just now, as a hint and no more."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread
from inotify_simple import INotify, flags

from steplog.home import make_folder
from steplogd.core.ticks import until_tick
from steplogd.intake.tail import run_id_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

_TOLD: Final = (
    # There may be something to read, or it may be read now.
    flags.CREATE
    | flags.MODIFY
    | flags.MOVED_TO
    | flags.ATTRIB
    # Somebody is gone, perhaps: the kernel closes what a killed process had open.
    | flags.CLOSE_WRITE
    | flags.MOVED_FROM
    | flags.DELETE
)
_REST_SECONDS: Final = 0.01
"""After each hint, so that a steady stream of them is told a hundred times a second at most."""

_CHECK_SECONDS: Final = 1.0
"""How soon a folder that was deleted and made again, or replaced, is noticed."""

_LIMITS: Final = {
    errno.ENOSPC: "there are fs.inotify.max_user_watches already",
    errno.EMFILE: "there are fs.inotify.max_user_instances, or open files, already",
}


async def watch(
    folder: Path, stop: anyio.Event, make: Callable[[Path], None] = make_folder
) -> AsyncIterator[set[str]]:
    """Yield the ids of runs whose spool was just appended to or closed, until told to stop.

    Notifications get lost (a network file system, what was appended before the watch stood):
    whoever needs all looks for himself from time to time. The folder is watched by itself, not
    what lies below it, so that no link leads elsewhere.

    Args:
        folder: Where the spools lie.
        stop: The stop event.
        make: Makes the folder where it is absent.

    Yields:
        Run ids; an empty set once the watch stands, or stands anew, or the kernel's queue of
        notifications ran over, and all should be looked at.

    Raises:
        OSError: The kernel gives no watch (its limit is reached, say).
    """
    while not stop.is_set():
        await to_thread.run_sync(make, folder)
        try:
            async with contextlib.aclosing(_watch_this(folder, stop)) as hints:
                async for run_ids in hints:
                    yield run_ids
        except FileNotFoundError:  # deleted since: make it again, but not all too often
            await anyio.sleep(_CHECK_SECONDS)


async def _watch_this(folder: Path, stop: anyio.Event) -> AsyncGenerator[set[str]]:
    """Yield what `watch` does, until the folder is not the one that it was."""
    with contextlib.ExitStack() as held:
        descriptor, notifications = await to_thread.run_sync(_stand, folder, held)
        yield set()
        check_at = _next_check()
        while not stop.is_set():
            await _readable(notifications, stop, until=check_at)
            events = notifications.read(timeout=0)
            if run_ids := {run_id for event in events if (run_id := run_id_of(event.name))}:
                yield run_ids
            if any(event.mask & flags.Q_OVERFLOW for event in events):
                yield set()
            if anyio.current_time() >= check_at:
                if await to_thread.run_sync(_is_another, folder, descriptor):
                    return
                check_at = _next_check()
            elif events:
                await anyio.sleep(_REST_SECONDS)


def _next_check() -> float:
    now = anyio.current_time()
    return now + until_tick(_CHECK_SECONDS, now)


def _stand(folder: Path, held: contextlib.ExitStack) -> tuple[int, INotify]:
    """Open a folder and the notifications of what happens in it, both closed with the stack.

    It is kept open: else one that is made in its place may well get the same inode.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    held.callback(os.close, descriptor)
    try:
        notifications = held.enter_context(INotify(nonblocking=True))
        notifications.add_watch(folder, _TOLD | flags.ONLYDIR | flags.DONT_FOLLOW)
    except OSError as error:
        if error.errno in _LIMITS:
            raise OSError(error.errno, _LIMITS[error.errno]) from error
        raise
    return descriptor, notifications


async def _readable(notifications: INotify, stop: anyio.Event, until: float) -> None:
    """Wait until something is told, it is time, or the stop event is set."""
    with anyio.CancelScope(deadline=until):
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(_cancel_after, stop, waiting.cancel_scope)
            await anyio.wait_readable(notifications)
            waiting.cancel_scope.cancel()


async def _cancel_after(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


def _is_another(folder: Path, descriptor: int) -> bool:
    try:
        return not os.path.samestat(folder.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return True
