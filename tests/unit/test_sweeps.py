"""What a sweep finds, and whether anybody was told of it: the follower's own stages, one by one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from steplog.home import spool_folder
from steplogd.config import Config, Settings
from steplogd.folding.follow import Follower
from steplogd.home_disk import HomeDisk
from steplogd.store.database import Database
from steplogd.troubles import Troubles
from tests.bench import line_over
from tests.conftest import DEADLINE_SECONDS
from tests.guard import RULES
from tests.lines import append, line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = RULES
_LINE = line("track", values={"x": 1})


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    """Make a new store in the home."""
    spool_folder(home).mkdir(parents=True)
    opened = Database(home / "steplog.db")
    yield opened
    opened.close()


def following(home: Path, database: Database) -> Follower:
    """Build a follower that follows already; none of its stages runs by itself."""
    folding = line_over(home, database)
    follower = Follower(
        Config(home, Settings()),
        folding,
        HomeDisk(home),
        anyio.Event(),
        Troubles(),
        on_advance=lambda _: None,
        on_end=lambda: None,
    )
    follower.is_following.set()
    return follower


async def test_what_is_being_folded_was_told_of(home: Path, database: Database) -> None:
    """Though a sweep looks before its turn has come, and marks it once more."""
    follower = await to_thread.run_sync(following, home, database)
    await to_thread.run_sync(append, home, "r", _LINE)
    go_on = threading.Event()
    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follower.in_line, go_on.wait)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(follower._sweep_once)
            await anyio.wait_all_tasks_blocked()
            follower.missed.hear(["r"])
            follower.mark(["r"])
            tasks.start_soon(follower._fold_once)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        await follower._sweep_once()

    assert follower.missed.size_bytes == 0


async def test_what_nobody_told_of_is_missed(home: Path, database: Database) -> None:
    """Also after it was folded, which the sweep saw to; and once."""
    follower = await to_thread.run_sync(following, home, database)
    await to_thread.run_sync(append, home, "r", _LINE)
    for _ in range(3):
        await follower._sweep_once()
        await follower._fold_once()

    assert follower.missed.size_bytes == len(_LINE)


async def test_a_spool_that_cannot_be_read_is_not_missed_again_and_again(
    home: Path, database: Database
) -> None:
    """It is known, and told of elsewhere."""
    follower = await to_thread.run_sync(following, home, database)
    path = await to_thread.run_sync(append, home, "r", _LINE)
    await follower.in_line(follower._line.spools.refuse, "r", "not now")
    for _ in range(3):
        await follower._sweep_once()

    assert path.exists()
    assert follower.missed.size_bytes == 0


async def test_what_was_there_at_the_start_is_not_missed(home: Path, database: Database) -> None:
    """Nobody can be told of it."""
    follower = await to_thread.run_sync(following, home, database)
    follower.is_following = anyio.Event()
    await to_thread.run_sync(append, home, "r", _LINE)
    for _ in range(3):
        await follower._sweep_once()

    assert follower.missed.size_bytes == 0


async def test_what_waits_to_be_folded_was_told_of(home: Path, database: Database) -> None:
    """For as long as the disk is full, say."""
    follower = await to_thread.run_sync(following, home, database)
    await to_thread.run_sync(append, home, "r", _LINE)
    follower.mark(["r"])
    for _ in range(3):
        await follower._sweep_once()

    assert follower.missed.size_bytes == 0
