"""Watch: which spools somebody appended to just now, as a hint and no more."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread
from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from steplog.home import make_folder
from steplogd.intake.tail import run_id_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

_STEP_MS: Final = (
    20  # how often new notifications are collected: 1 % of a slow core, 43 ms to notice
)
_DEBOUNCE_MS: Final = 50  # the longest that a steady stream of them is held back
_RUST_TIMEOUT_MS: Final = 1000  # how soon a folder that was deleted and made again is noticed

logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it would log each batch


async def watch(
    folder: Path, stop: anyio.Event, make: Callable[[Path], None] = make_folder
) -> AsyncIterator[set[str]]:
    """Yield the ids of runs whose spool was just appended to, until told to stop.

    Notifications get lost (an overflow of the kernel's queue, a network file system, what was
    appended before the watch stood): whoever needs all looks for himself from time to time. The
    folder is watched by itself, not what lies below it, so that no link leads elsewhere.

    Args:
        folder: Where the spools lie.
        stop: The stop event.
        make: Makes the folder where it is absent.

    Yields:
        Run ids; an empty set once the watch stands, or stands anew, and all should be looked at.

    Raises:
        OSError: The kernel gives no watch (its limit is reached, say).
    """
    while not stop.is_set():
        await to_thread.run_sync(make, folder)
        try:
            async with contextlib.aclosing(_watch_this(folder, stop)) as hints:
                async for run_ids in hints:
                    yield run_ids
        except (
            FileNotFoundError,  # deleted since: make it again
            # A name that is not UTF-8 ends a watch; anybody may make one, but not all too often.
            ExceptionGroup,
            WatchfilesRustInternalError,
        ):
            await anyio.sleep(_RUST_TIMEOUT_MS / 1000)


async def _watch_this(folder: Path, stop: anyio.Event) -> AsyncGenerator[set[str]]:
    """Yield what `watch` does, until the folder is not the one that it was."""
    async with _held(folder) as descriptor:
        has_stood = False
        async for changes in awatch(
            folder,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            rust_timeout=_RUST_TIMEOUT_MS,
            yield_on_timeout=True,
            stop_event=stop,
            recursive=False,
            watch_filter=None,
        ):
            if not has_stood:
                has_stood = True
                yield set()
            names = {Path(path).name for _, path in changes}
            if run_ids := {run_id for name in names if (run_id := run_id_of(name)) is not None}:
                yield run_ids
            if not changes and await to_thread.run_sync(_is_another, folder, descriptor):
                return


@contextlib.asynccontextmanager
async def _held(folder: Path) -> AsyncIterator[int]:
    """Keep a folder open: else one that is made in its place may well get the same inode."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = await to_thread.run_sync(os.open, folder, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_another(folder: Path, descriptor: int) -> bool:
    try:
        return not os.path.samestat(folder.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return True
