"""Follows the spools: woken by hints, folds what is new, and ends the runs that are over."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import structlog
from anyio import CapacityLimiter, to_thread

from steplog.home import make_folder, spool_folder
from steplogd.clock import WallClock
from steplogd.core.ticks import until_tick
from steplogd.folding.missed import Missed
from steplogd.intake.watch import watch
from steplogd.mounts import remote_mount, warning
from steplogd.shared_home import share_folder
from steplogd.store.database import StoreError, StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from steplogd.config import Config, Settings
    from steplogd.folding.line import Line
    from steplogd.folding.passes import Pass
    from steplogd.home_disk import HomeDisk
    from steplogd.troubles import Troubles

_RETRY_SECONDS: Final = 1.0
_UNWATCHED_SWEEP_SECONDS: Final = 1.0
_SWEEP_REST: Final = 2000  # times as long as one takes: there may be many thousands of spools
_LONGEST_REST_SECONDS: Final = 60.0
_CHECKS_PER_GRACE: Final = 2
_UNLISTED: Final = "spools cannot be listed"
_UNCOMMITTED: Final = "run log cannot be committed"
_SHORT: Final = "spools are not folded"
_UNENDED: Final = "end of runs cannot be committed"

_log = structlog.get_logger()
R = TypeVar("R")


class Follower:
    """Keeps the run logs up with the spools; each stage ends soon after the stop event is set.

    Args:
        config: Where the spools are, and how often to look.
        line: Folds them; used by one thread at a time, through this class alone.
        disk: Where the run logs grow; while it is short, nothing is folded.
        stop: The stop event.
        troubles: What is tried again all the time.
        on_advance: Called with the numbers of runs whose log grew or changed.
        on_end: Called when the document of some run is missing or outdated.

    Attributes:
        missed: What no notification told of.
        is_following: Set once all spools are known, and what comes to them is told or swept for.
        thread: The native id of the thread that has the line, or had it last.
    """

    def __init__(
        self,
        config: Config,
        line: Line,
        disk: HomeDisk,
        stop: anyio.Event,
        troubles: Troubles,
        *,
        on_advance: Callable[[set[int]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._folder = spool_folder(config.home)
        self._settings = config.settings
        self._make_folder = share_folder if config.settings.shared else make_folder
        self._wall_clock = WallClock(config.settings.idle_seconds)
        self._line = line
        self._disk = disk
        self._stop = stop
        self._troubles = troubles
        self._on_advance = on_advance
        self._on_end = on_end
        self._one_thread = CapacityLimiter(1)
        self._one_fold = anyio.Lock()  # what two had marked at once, each would read
        self.thread = 0
        self.is_following = anyio.Event()
        self._is_armed = False  # the kernel watches, or it is decided to look often
        self.missed = Missed()
        self._in_pass: list[str] = []
        self._dirty: dict[str, None] = {}  # in the order of their turn: nobody waits for ever
        self._has_dirty = anyio.Event()
        self._hears = True  # what the kernel tells of spools on this machine
        self._is_all_due = False
        self._sweep_took_seconds = 0.0
        self._resting: set[anyio.CancelScope] = set()

    def adopt(self, settings: Settings) -> None:
        """Go on with other settings, from now on: nobody waits any more as the old ones say."""
        self._settings = settings
        self._wall_clock.patience_seconds = settings.idle_seconds
        for scope in self._resting:
            scope.cancel()

    async def watch(self) -> None:
        """Mark what notifications tell of, or sweep often where the kernel gives none."""
        try:
            async for run_ids in watch(self._folder, self._stop, self._make_folder):
                self.missed.hear(run_ids)
                self.mark(run_ids)
                self._is_armed = True
                if not run_ids:
                    self._is_all_due = True
                    await self._sweep_once()
        except OSError as error:
            self._hears, self._is_armed = False, True
            _log.warning("no notifications: sweeping every second instead", reason=str(error))
            await self._sweep_once()
            await self._sweep_every(_UNWATCHED_SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Mark what no notification told of, every now and then; often where others write too.

        At the start `watch` does so, once it stands: what is swept before that is swept twice.
        """
        most_seconds = float("inf")
        if mount := await to_thread.run_sync(remote_mount, self._folder):
            self._hears = False
            _log.warning("spools lie on a network file system", reason=warning(self._folder, mount))
            most_seconds = _UNWATCHED_SWEEP_SECONDS
        await self._sweep_every(most_seconds)

    async def fold(self) -> None:
        """Fold what is marked."""
        while not self._stop.is_set():
            await self._has_dirty.wait()
            async with self._one_fold:
                await self._fold_once()

    async def end_runs(self) -> None:
        """End the runs that nobody is in any more."""
        while not self._stop.is_set():
            await self._end_once(everyone=self._is_all_due or not self._hears)
            seconds = self._settings.grace_seconds / _CHECKS_PER_GRACE
            await self._rest(until_tick(seconds, anyio.current_time()))

    async def caught_up(self) -> None:
        """Wait until what is in the spools now is folded, and the runs that are over have ended.

        Raises:
            OSError: The spools cannot be listed.
        """
        sizes = await self.in_line(self._line.spools.sizes)
        while not await self._has_folded(sizes):
            pass
        await self._end_once(everyone=True)
        leaving = await self.in_line(self._line.leaving)
        while leaving := leaving & await self.in_line(self._line.leaving):
            await self.pause(self._settings.grace_seconds / _CHECKS_PER_GRACE)
            await self._end_once(everyone=True)

    async def in_line(self, function: Callable[..., R], *arguments: object) -> R:
        """Call something that uses the line, in a thread, when nobody else does."""
        return await to_thread.run_sync(
            self._in_line, function, arguments, limiter=self._one_thread
        )

    async def have_turn(self, function: Callable[[], None]) -> None:
        """Call something that leaves the line alone when the line is free; may be cancelled."""
        await to_thread.run_sync(
            self._in_line, function, (), limiter=self._one_thread, abandon_on_cancel=True
        )

    async def pause(self, seconds: float) -> None:
        """Sleep, but no longer than until told to stop."""
        with anyio.move_on_after(seconds):
            await self._stop.wait()

    def mark(self, run_ids: Iterable[str]) -> None:
        """Have these runs looked at soon."""
        self._dirty |= dict.fromkeys(run_ids)
        if self._dirty:
            self._has_dirty.set()

    def wake(self) -> None:
        """Let stages that wait for something to do look whether they should stop."""
        self._has_dirty.set()

    def _in_line(self, function: Callable[..., R], arguments: tuple[object, ...]) -> R:
        self.thread = threading.get_native_id()
        return function(*arguments)

    async def _sweep_every(self, most_seconds: float) -> None:
        while not self._stop.is_set():
            rest_seconds = min(_SWEEP_REST * self._sweep_took_seconds, _LONGEST_REST_SECONDS)
            seconds = min(self._settings.sweep_seconds, most_seconds)
            await self._rest(max(seconds, rest_seconds if self._hears else 0))
            await self._sweep_once()

    async def _rest(self, seconds: float) -> None:
        """Pause, but no longer than until the settings change."""
        with anyio.move_on_after(seconds) as scope:
            self._resting.add(scope)
            await self._stop.wait()
        self._resting.discard(scope)

    async def _sweep_once(self) -> None:
        is_armed = self._is_armed
        try:
            found = await self.in_line(self._grown)
        except OSError as error:
            self._troubles.say(_UNLISTED, str(error))
        else:
            self._troubles.mended(_UNLISTED)
            self._note_missed()
            self.mark(found)
            if is_armed:
                self.is_following.set()

    def _note_missed(self) -> None:
        if self.is_following.is_set():  # before that, nobody was told of what there is
            spools = self._line.spools
            known = {*self._dirty, *self._in_pass, *spools.unreadable()}
            self.missed.find(spools.left(), known)

    def _grown(self) -> list[str]:
        began = time.thread_time()
        try:
            return [*self._line.waiting(), *self._line.spools.grown()]
        finally:
            self._sweep_took_seconds = time.thread_time() - began

    async def _has_folded(self, sizes: dict[str, int]) -> bool:
        """Tell whether all is folded up to these sizes; fold a piece of what is not."""
        async with self._one_fold:
            if run_ids := await self.in_line(self._line.unfolded, sizes):
                self.mark(run_ids)
                await self._fold_once()
        return not run_ids

    async def _fold_once(self) -> None:
        """Fold a piece of all that is marked; what is left of it stays marked."""
        run_ids, self._dirty, self._has_dirty = list(self._dirty), {}, anyio.Event()
        self._in_pass = run_ids
        try:
            done = await self.in_line(self._fold_unless_short, run_ids)
        except StoreUnusable:
            raise
        except StoreError as error:
            await self._fold_later(run_ids, _UNCOMMITTED, str(error))
            return
        finally:
            self._in_pass = []
        if isinstance(done, str):
            await self._fold_later(run_ids, _SHORT, done)
            return
        self._troubles.mended(_SHORT)
        self._troubles.mended(_UNCOMMITTED)
        came_meanwhile, self._dirty = self._dirty, {}
        self.mark([*done.skipped, *came_meanwhile, *done.unfinished])
        self._on_advance(done.advanced)
        if done.late:
            self._on_end()

    def _fold_unless_short(self, run_ids: list[str]) -> Pass | str:
        return self._disk.shortage() or self._line.run(run_ids)

    async def _fold_later(self, run_ids: list[str], trouble: str, reason: str) -> None:
        self.mark(run_ids)
        self._troubles.say(trouble, reason)
        await self.pause(_RETRY_SECONDS)

    async def _end_once(self, *, everyone: bool) -> None:
        self._is_all_due = False
        try:
            now = time.monotonic()
            wall_now = self._wall_clock.now(now)
            ended = await self.in_line(self._line.end_runs, now, wall_now, everyone)
        except StoreUnusable:
            raise
        except StoreError as error:
            self._troubles.say(_UNENDED, str(error))
            return
        self._troubles.mended(_UNENDED)
        if ended:
            self._on_advance(ended)
            self._on_end()
