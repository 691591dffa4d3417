"""Who folds when: the stage that always does, and whoever waits for all that is there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from steplogd.config import Config, load_config
from steplogd.folding.follow import Follower
from steplogd.folding.spools import Spools
from steplogd.home_disk import HomeDisk
from steplogd.store.database import Database
from steplogd.troubles import Troubles
from tests.bench import line_over
from tests.conftest import DEADLINE_SECONDS
from tests.guard import RULES
from tests.lines import Scribe, append

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplog.events import Malformed
    from steplogd.folding.line import Line
    from steplogd.intake.tail import Chunk

pytestmark = RULES
RUN_IDS = [f"r{number}" for number in range(30)]


class Listed(Spools):
    """Spools that keep a list of what is read."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, {})
        self.reads: list[str] = []

    def read(self, run_id: str) -> tuple[Chunk, list[Malformed]] | None:
        """Read it, and list it."""
        self.reads.append(run_id)
        return super().read(run_id)


@pytest.fixture
def line(home: Path) -> Iterator[Line]:
    """Yield a line over spools of a point each, that folds one spool in a pass."""
    for run_id in RUN_IDS:
        append(home, run_id, Scribe().track())
    with contextlib.closing(Database(home / "steplog.db")) as database:
        line = line_over(home, database)
        line.spools = Listed(home)
        yield line


def quiet(config: Config, line: Line, disk: HomeDisk, stop: anyio.Event) -> Follower:
    """Build a follower that tells nobody what it did."""
    told = Troubles()
    return Follower(config, line, disk, stop, told, on_advance=lambda _: None, on_end=lambda: None)


async def test_who_waits_beside_who_folds_reads_no_spool_again(
    home: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one of both has marked and folds, piece after piece, the other leaves to it."""
    monkeypatch.setattr("steplogd.folding.line.PASS_BYTES", 1)
    config = await to_thread.run_sync(load_config, None)
    stop, disk = anyio.Event(), HomeDisk(home, 0)
    follower = quiet(config, line, disk, stop)

    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as stages:
            follower.mark(RUN_IDS)
            stages.start_soon(follower.fold)
            await follower.caught_up()
            stop.set()
            follower.wake()

    assert isinstance(line.spools, Listed)
    assert sorted(line.spools.reads) == sorted(RUN_IDS)


async def test_spools_are_followed_only_once_they_are_watched(home: Path, line: Line) -> None:
    """One that appears after a sweep, and before the watch is armed, nobody would tell of."""
    config = await to_thread.run_sync(load_config, None)
    stop, disk = anyio.Event(), HomeDisk(home, 0)
    follower = quiet(config, line, disk, stop)

    await follower._sweep_once()
    is_early = follower.is_following.is_set()
    async with anyio.create_task_group() as stages:
        stages.start_soon(follower.watch)
        with anyio.fail_after(DEADLINE_SECONDS):
            await follower.is_following.wait()
        stop.set()

    assert not is_early
