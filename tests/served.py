"""A service in the test's own process, and what of it arrived at a tracker in memory."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from steplogd.config import load_config
from steplogd.delivery.memory import MemoryBackend, MemoryTracker
from steplogd.service import Service
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import configure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MEMORY = '[[backend]]\ntype = "memory"\n'

TWO_MEMORIES = f'{MEMORY}[[backend]]\ntype = "memory"\nname = "other"\nstore = "other"\n'


def tracker(home: Path, store: str = "default") -> MemoryTracker:
    """Return what the memory backend of a home delivers to."""
    return MemoryBackend.tracker_of(home, store)


@contextlib.asynccontextmanager
async def started(home: Path, text: str = "") -> AsyncIterator[Service]:
    """Serve a home, with quick settings and these backends; no test may take for ever."""
    with anyio.fail_after(DEADLINE_SECONDS):
        config = await to_thread.run_sync(lambda: load_config(Path(configure(home, text))))
        async with Service(config).started() as service:
            yield service


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition that may be looked at in a thread."""
    await to_thread.run_sync(wait_until, is_so)


def arrived(home: Path, run_id: str = "r", store: str = "default") -> list[int]:
    """Return the positions that arrived of a run."""
    found = tracker(home, store).runs.get(run_id)
    return sorted(found.observations) if found else []


async def drain(home: Path, text: str = MEMORY) -> None:
    """Serve until all is folded and delivered."""
    async with started(home, text) as service:
        await service.drained()
