"""Serves a home whatever becomes of its store: waits for one that is locked, replaces a broken one.

To be used by who holds the home: nobody else may set its store aside.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import structlog
from anyio import to_thread

from steplog.errors import SteplogError
from steplog.home import database_path
from steplogd.config import ConfigError
from steplogd.core.retry import delay_seconds
from steplogd.service import Service
from steplogd.store.breakage import StoreBusy, StoreError, StoreUnusable, is_damaged, set_aside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from steplogd.config import Config

_LOCKED_PAUSE_SECONDS: Final = 0.5
_GOOD_SECONDS: Final = 60.0
"""How long a store must last for the next broken one to count as the first."""

_log = structlog.get_logger()
T = TypeVar("T")


async def serve(
    config: Config,
    until: Callable[[Service], Awaitable[T]],
    stop: anyio.Event | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> T:
    """Serve until this returns what it returns; it is called anew for each new service.

    A store that is broken, at the start or later, is set aside with a word in the log, and a new
    one is folded from the spools.

    Args:
        config: What to serve; its home is held by the caller.
        until: Waits for what the service is wanted for.
        stop: Ends the waiting for a store.
        say: Is told in words what is done while there is no service.

    Raises:
        StoreBusy: Another program had the store locked until `stop` was set.
        StoreUnusable: It was found broken when `stop` was set; it is set aside.
        StoreError: It cannot be made.
        OSError: It cannot be set aside.
        ConfigError: A backend cannot be built.
    """
    stop, path = stop or anyio.Event(), database_path(config.home)
    is_lock_said, failures, failed_at = False, 0, float("-inf")
    say(f"opening the store of {config.home}")
    service = Service(config)
    while True:
        try:
            async with service.started():
                is_lock_said = False
                return await until(service)
        except StoreBusy as error:
            trouble: StoreError = error
            pause_seconds = _LOCKED_PAUSE_SECONDS
            say(f"waiting for the store: {error}")
            if not is_lock_said:
                _log.warning("store is locked, waiting", reason=str(error))
                is_lock_said = True
        except Exception as error:  # noqa: BLE001  # what is not the store's fault is raised again
            say("looking into the store: it may be broken")
            trouble = await to_thread.run_sync(_broken_by, path, error)
            say(f"folding all again into a new store: {trouble}")
            await to_thread.run_sync(_set_aside, path, trouble)
            is_long_ago = anyio.current_time() - failed_at > _GOOD_SECONDS
            failures, failed_at = 0 if is_long_ago else failures + 1, anyio.current_time()
            # Where each new one breaks at once, the disk must not be filled with them.
            pause_seconds = delay_seconds(failures, random.random()) if failures else 0.0  # noqa: S311
        with anyio.move_on_after(pause_seconds):
            await stop.wait()
        if stop.is_set():
            raise trouble
        service = Service(service.config)  # as it was changed, perhaps


def _broken_by(path: Path, error: Exception) -> StoreUnusable:
    """Return what is wrong with the store; raise the error where it is not the store's fault."""
    if isinstance(error, StoreUnusable):
        return error
    if isinstance(error, (StoreError, ConfigError, SteplogError, OSError)) or not is_damaged(path):
        raise error
    return StoreUnusable(f"{path} holds what nobody could have written ({error!r})")


def _set_aside(path: Path, trouble: StoreError) -> None:
    place = set_aside(path)
    _log.error(
        "store set aside: the run logs are folded again from the spools",
        reason=str(trouble),
        lies_at=str(place) if place else None,
    )
