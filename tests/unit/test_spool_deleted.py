"""A spool that is deleted while its writer lives: nothing of that is silent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import steplog
from steplog.home import spool_path
from steplog.set_aside import read_set_aside
from tests.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def bench(home: Path) -> Iterator[Bench]:
    """Build a line over the home that the SDK tracks into."""
    (home / "spool").mkdir(parents=True)
    built = Bench(home)
    yield built
    built.database.close()


def exchange(path: Path) -> None:
    """Put an empty file in its place."""
    other = path.with_name("other")
    other.touch()
    other.replace(path)


@pytest.mark.parametrize("take_away", [os.unlink, exchange])
def test_the_task_goes_on_in_a_new_spool_and_what_is_missing_is_counted(
    bench: Bench, take_away: Callable[[Path], None]
) -> None:
    """At the next event that has the time to look; the run ends as it should."""
    with steplog.start_run("r") as run:
        run.track_this(loss=0.5)
        bench.fold()
        take_away(spool_path(bench.home, "r"))
        run.track_this(loss=0.25)
        run.track_this(loss=0.125)
        with steplog.task("later"):
            run.track_this(loss=0.0625)
    bench.fold()
    bench.check_ends()
    bench.check_ends(10.0)

    assert bench.values() == [0.5, 0.0625]
    assert bench.run()["status"] == "SUCCESS"
    assert bench.run()["gaps"] == 2
    assert [gap.last - gap.first for gap in read_set_aside(bench.home, "r").gaps] == [1]
