"""When the line ends a run: nobody is in it, all of it is folded, and the grace period is over."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from steplog.home import spool_folder
from steplogd.folding.rounds import CHECKS_PER_ROUND
from tests.bench import GRACE_SECONDS, IDLE_SECONDS, Bench
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def locked() -> Iterator[Callable[[Path], int]]:
    """Give a way to hold a spool's lock as a writer that lives; returns the descriptor."""
    held: list[int] = []

    def hold(path: Path) -> int:
        held.append(os.open(path, os.O_RDONLY))
        fcntl.flock(held[-1], fcntl.LOCK_SH)
        return held[-1]

    yield hold
    for descriptor in held:
        os.close(descriptor)


def test_a_run_ends_when_nobody_has_been_in_it_for_the_grace_period(bench: Bench) -> None:
    """Not before."""
    a = Scribe()
    append(bench.home, "r", a.line("join"), a.line("leave"))
    bench.fold()

    ends = [bench.check_ends(later) for later in (0.0, 1.9, 0.2)]

    assert ends == [False, False, True]
    assert bench.run()["status"] == "SUCCESS"
    assert bench.line.open_count() == 0


def test_a_run_goes_on_while_a_writer_lives(bench: Bench, locked: Callable[[Path], int]) -> None:
    """The kernel frees its lock when it is killed."""
    path = append(bench.home, "r", Scribe().line("join"))
    descriptor = locked(path)
    bench.fold()

    alive = [bench.check_ends(1000.0), bench.check_ends(1000.0)]
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    killed = [bench.check_ends(1.0), bench.check_ends(GRACE_SECONDS)]

    assert alive == [False, False]
    assert killed == [False, True]
    assert (bench.run()["status"], bench.run()["killed"]) == ("FAIL", 1)


def test_a_writer_that_is_killed_is_noticed_at_once_where_the_kernel_told_of_it(
    bench: Bench, locked: Callable[[Path], int]
) -> None:
    """However many others live on, whose turn comes first."""
    path = append(bench.home, "r", Scribe().line("join"))
    descriptor = locked(path)
    for number in range(3 * CHECKS_PER_ROUND):
        locked(append(bench.home, f"other-{number}", Scribe().line("join")))
    bench.fold()
    alive = [bench.check_some() for _ in range(2)]
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    bench.line.run(["r"])

    killed = [bench.check_some(), bench.check_some(GRACE_SECONDS)]

    assert alive == [False, False]
    assert killed == [False, True]
    assert bench.run()["status"] == "FAIL"


def test_a_writer_that_is_killed_is_noticed_in_a_round_where_nobody_told_of_it(
    bench: Bench, locked: Callable[[Path], int]
) -> None:
    """Notifications get lost."""
    descriptor = locked(append(bench.home, "r", Scribe().line("join")))
    bench.fold()
    for _ in range(CHECKS_PER_ROUND):
        bench.check_some(GRACE_SECONDS)
    fcntl.flock(descriptor, fcntl.LOCK_UN)

    ends = [bench.check_some(GRACE_SECONDS) for _ in range(CHECKS_PER_ROUND + 1)]

    assert ends.count(True) == 1


def test_the_grace_period_begins_anew_when_somebody_came_in_between(bench: Bench) -> None:
    """Though he had left again before anyone looked."""
    a, b = Scribe("a"), Scribe("b")
    append(bench.home, "r", a.line("join"), a.line("leave"))
    bench.fold()
    bench.check_ends()
    append(bench.home, "r", b.line("join"), b.line("leave"))
    bench.now += 1.5
    bench.fold()

    ends = [bench.check_ends(0.5), bench.check_ends(1.5), bench.check_ends(0.5)]

    assert ends == [False, False, True]


def test_visitors_do_not_prolong_the_grace_period(bench: Bench) -> None:
    """They neither start nor end anything."""
    a = Scribe()
    append(bench.home, "r", a.line("join"), a.line("leave"))
    bench.fold()
    bench.check_ends()
    append(bench.home, "r", line("track", values={"x": 1}))
    bench.fold()

    assert bench.check_ends(GRACE_SECONDS)


def test_a_run_does_not_end_before_all_of_it_is_folded(bench: Bench) -> None:
    """What came at last may be somebody who joins."""
    a = Scribe()
    append(bench.home, "r", a.line("join"), a.line("leave"))
    bench.fold()
    bench.check_ends()
    append(bench.home, "r", line("join"))

    ended = bench.check_ends(1000.0)

    assert not ended


def test_a_torn_tail_does_not_keep_a_killed_run_open(bench: Bench) -> None:
    """Nobody will ever complete it, and no notification will come."""
    a = Scribe()
    append(bench.home, "r", a.line("join"), a.track(), b'{"t":"track","val')
    bench.line.run(["r"])

    ends = [bench.check_ends(), bench.check_ends(GRACE_SECONDS)]

    assert ends == [False, True]
    assert bench.run()["killed"] == 1


def test_a_torn_tail_is_folded_when_it_is_completed(bench: Bench) -> None:
    """A reader often looks in the middle of a write."""
    whole = Scribe().track(loss=0.5)
    append(bench.home, "r", whole[:20])
    bench.fold()
    backlog = bench.line.spools.backlog_bytes()
    append(bench.home, "r", whole[20:])

    bench.fold()

    assert backlog == 0
    assert bench.values() == [0.5]
    assert bench.run()["malformed"] == 0


def test_a_run_of_visitors_alone_ends_after_silence(bench: Bench) -> None:
    """As a success."""
    path = append(bench.home, "r", line("track", values={"x": 1}))
    os.utime(path, (1000, 1000))
    bench.fold()
    ends = []

    for bench.wall_now in (1000.0, 1000.0 + IDLE_SECONDS - 1, 1000.0 + IDLE_SECONDS):
        ends.append(bench.check_ends(1000.0))

    assert ends == [False, False, True]
    assert bench.run()["status"] == "SUCCESS"


def test_a_clock_that_was_set_back_does_not_keep_a_run_open(bench: Bench) -> None:
    """The spool seems to come from the future then."""
    path = append(bench.home, "r", line("track", values={"x": 1}))
    os.utime(path, (10**9, 10**9))
    bench.fold()
    bench.wall_now = 1000.0

    assert bench.check_ends()


def test_a_run_goes_on_where_no_lock_tells_who_lives(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has been silent for long: some file systems have no locks."""

    def has_no_locks(_: Path) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("steplogd.folding.presence.has_writer", has_no_locks)
    path = append(bench.home, "r", Scribe().line("join"))
    os.utime(path, (1000, 1000))
    bench.fold()
    bench.wall_now = 1000.0
    lively = [bench.check_ends(1000.0), bench.check_ends(1000.0)]

    bench.wall_now += IDLE_SECONDS
    silent = [bench.check_ends(), bench.check_ends(GRACE_SECONDS)]

    assert lively == [False, False]
    assert silent == [False, True]


def test_a_folder_that_cannot_be_read_for_now_kills_no_run(bench: Bench) -> None:
    """It is no folder any more, say: that tells nothing about who lives."""
    append(bench.home, "r", Scribe().line("join"))
    bench.fold()
    shutil.rmtree(spool_folder(bench.home))
    spool_folder(bench.home).write_text("")

    ends = [bench.check_ends(1000.0), bench.check_ends(1000.0)]

    assert ends == [False, False]
