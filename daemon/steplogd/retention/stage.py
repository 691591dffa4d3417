"""The stage that archives the spools of finished runs, and frees what they take, a page at a time.

A round looks at one page of archived spools and at one of runs that ended, and rests for many times
as long as that took: where nothing is to be done, it is two queries of an index now and then. What
was compressed or removed is said, a line for each run, and in one for all of a round.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
from anyio import to_thread

from steplog.home import spool_path
from steplogd.clock import WallClock
from steplogd.core.retention import Policy, Spooled, chosen
from steplogd.retention.archivist import Archivist
from steplogd.retention.budget import Budget
from steplogd.retention.freeing import PAGE, Freeing, Short, Stopped
from steplogd.retention.home_size import taken_by
from steplogd.retention.turned_down import TurnedDown
from steplogd.retention.writers import NotNow
from steplogd.store.archived import START
from steplogd.store.database import StoreError, StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from steplogd.folding.follow import Follower
    from steplogd.folding.line import Line
    from steplogd.home_disk import HomeDisk
    from steplogd.retention.archive import Archive
    from steplogd.store.archived import Archived, FinishedRun
    from steplogd.troubles import Troubles

TURN_SECONDS: Final = 10.0
_ROUND_SECONDS: Final = 0.05
_REST: Final = 200  # times as long as a round took: half a percent of a core
_BUSY_REST: Final = 3  # the same where something was done, which will not go on for ever
_LONGEST_REST_SECONDS: Final = 60.0

_CLOCK_PART: Final = 10
_CLOCK_SECONDS: Final = 600.0
"""For how long a clock that was set, or that we have only begun to read, tells no ages; or for a
tenth of the age that is asked for, where that is less."""

_LOWEST_PRIORITY: Final = 19
_UNARCHIVED: Final = "spools cannot be archived"

R = TypeVar("R")


class Retention:
    """Keeps a home in order; its stage ends soon after the stop event is set.

    Args:
        home: Which home.
        policy: What is asked for.
        archive: Where spools come that are taken out of `spool/`.
        archived: The store.
        line: Folds them.
        follower: Lets nobody else use the line meanwhile.
        disk: Where they are compressed.
        stop: The stop event.
        troubles: What is tried again all the time.
    """

    def __init__(
        self,
        home: Path,
        policy: Policy,
        archive: Archive,
        archived: Archived,
        line: Line,
        follower: Follower,
        disk: HomeDisk,
        stop: anyio.Event,
        troubles: Troubles,
    ) -> None:
        self._home = home
        self._archived = archived
        self._line = line
        self._follower = follower
        self._stop = stop
        self._archivist = Archivist(home, archive, archived, line)
        self._budget = Budget(home, archived, stop.is_set)
        self._turned_down = TurnedDown()
        self.apply(policy)
        self._freeing = Freeing(
            self._archivist,
            archived,
            self._budget,
            disk,
            self._turned_down,
            stop.is_set,
            lambda: self._policy,
        )
        self._own_thread = ThreadPoolExecutor(1, "retention", initializer=_lower_priority)
        self._after_finished = START
        self._troubles, self._is_troubled = troubles, False
        self._took_seconds = 0.0

    def apply(self, policy: Policy) -> None:
        """Go by another policy from now on; what is archived stays so."""
        self._policy = policy
        patience_seconds = min(_CLOCK_SECONDS, policy.after_seconds / _CLOCK_PART)
        self._clock = WallClock(patience_seconds, is_trusted_at_first=False)

    async def keep(self) -> None:
        """Do what the policy asks for, round after round."""
        try:
            while not self._stop.is_set():
                self._took_seconds = 0.0
                is_busy = await self._round_or_trouble()
                is_busy = self._freeing.say_done() or is_busy
                is_over = self._freeing.is_turn_over and not is_busy
                least = TURN_SECONDS if is_over else _ROUND_SECONDS
                rest = (_BUSY_REST if is_busy else _REST) * self._took_seconds
                await self._follower.pause(max(least, min(rest, _LONGEST_REST_SECONDS)))
        finally:
            self._own_thread.shutdown(wait=False, cancel_futures=True)

    async def _round_or_trouble(self) -> bool:
        """Do a round; return whether anything is archived by it."""
        try:
            is_busy = await self._round()
        except StoreUnusable:
            raise
        except Stopped:
            return False
        except (StoreError, Short) as error:
            self._freeing.is_turn_over = True
            self._note(str(error))
            return False
        if self._freeing.is_turn_over:
            self._note_turn()
        return is_busy

    async def _round(self) -> bool:
        policy, now = self._policy, self._clock.now(time.monotonic())
        await self._follower.in_line(self._archivist.tell_again)
        late, shortage = await self._quietly(lambda: self._freeing.finish_page(policy, now))
        for run_id, number in late:
            await self._follower.in_line(self._line.look_again, run_id, number)
        self._follower.mark(run_id for run_id, _ in late)
        taken = 0
        if policy.action != "keep":
            excess_bytes = await self._quietly(lambda: self._budget.excess(policy))
            due = await self._quietly(lambda: self._due(policy, now, excess_bytes))
            taken = sum([await self._take(run, policy) for run in due])
            if not taken and self._after_finished == START:
                await self._quietly(lambda: self._finish_turn(policy, now, excess_bytes))
        self._note(shortage)
        return taken > 0

    def _due(self, policy: Policy, now: float, excess_bytes: int) -> list[FinishedRun]:
        """Return the runs of the next page whose spools are to be archived."""
        until_ts = policy.looked_at_until(now, excess_bytes)
        page = []
        if until_ts is not None:
            page = self._archived.finished(self._after_finished, until_ts, PAGE)
        is_last = len(page) < PAGE
        self._after_finished = START if is_last else (page[-1].end_ts, page[-1].run_no)
        self._freeing.is_turn_over = self._freeing.is_turn_over and is_last
        runs = {
            run.run_id: run
            for run in page
            if run.is_everywhere and run.run_id not in self._turned_down
        }
        spools = [self._look(run) for run in runs.values()]
        return [runs[one.run_id] for one in chosen(policy, spools, now, excess_bytes)]

    def _look(self, run: FinishedRun) -> Spooled:
        try:
            status = spool_path(self._home, run.run_id).lstat()
        except OSError:  # whoever takes it will meet the same
            return Spooled(run.run_id, run.end_ts, 0, 0)
        modified_ts, taken_bytes = status.st_mtime_ns // 1000, taken_by(status)
        return Spooled(run.run_id, run.end_ts, modified_ts, taken_bytes)

    def _finish_turn(self, policy: Policy, now: float, excess_bytes: int) -> None:
        """Go on to what is compressed, where it is to be removed; then there is nothing more."""
        if policy.action == "remove":
            self._freeing.remove_page(policy, now, excess_bytes)
        if self._freeing.is_turn_over:
            self._budget.say(policy)

    async def _take(self, run: FinishedRun, policy: Policy) -> bool:
        if self._stop.is_set() or self._policy is not policy:
            return False
        began = time.monotonic()
        try:
            size = await self._follower.in_line(self._archivist.take, run)
        except NotNow:
            self._turned_down.add(run.run_id)
            return False
        except OSError as error:
            self._freeing.turn_down(run.run_id, error)
            return False
        finally:
            self._took_seconds += time.monotonic() - began
        self._budget.note_archived(size)
        self._follower.mark([run.run_id])  # something may have come to it just then
        return True

    async def _quietly(self, function: Callable[[], R]) -> R:
        """Call something in a thread that yields to everybody else on the machine."""

        def call() -> R:
            began = time.thread_time()
            try:
                return function()
            finally:
                self._took_seconds += time.thread_time() - began

        return await to_thread.run_sync(
            lambda: self._own_thread.submit(call).result(), abandon_on_cancel=True
        )

    def _note(self, trouble: str) -> None:
        """Tell of a trouble; "" is none."""
        if trouble:
            self._is_troubled = True
            self._troubles.say(_UNARCHIVED, trouble, is_error=False)

    def _note_turn(self) -> None:
        """Tell that there is no trouble any more, when there was none in a whole turn."""
        if not self._is_troubled:
            self._troubles.mended(_UNARCHIVED)
        self._is_troubled = False


def _lower_priority() -> None:
    """Let everybody else on the machine go first: a thread may have a priority of its own."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
