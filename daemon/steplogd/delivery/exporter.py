"""The exporter: keeps one backend fed with all its runs, in parallel, and tries again for ever."""

from __future__ import annotations

import contextlib
import math
import random
from typing import TYPE_CHECKING, Final

import anyio
import structlog
from anyio import CapacityLimiter, to_thread

from steplogd.core.retry import delay_seconds, stretched_seconds
from steplogd.delivery.contract import Refused, Unavailable
from steplogd.delivery.courier import Unnoted, Unread
from steplogd.delivery.secrets import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyio.abc import TaskGroup

    from steplogd.delivery.courier import Courier
    from steplogd.delivery.ledger import Ledger

_MAX_ERROR_CHARACTERS: Final = 500
_MOST_STORE_FAILURES: Final = 5  # it is at hand: seconds after it can be used it is
_OF_STORE: Final = (Unnoted, Unread)
_log = structlog.get_logger()


class Exporter:
    """Delivers every run that its backend is behind with.

    One batch per run is in flight, and as many runs as the limit allows. A run that fails waits by
    itself, the others go on; where all fail, they wait so long that it is no more work to wait with
    thousands than with a few. Other backends never notice.

    Attributes:
        retries: How often a batch is to be tried again.

    Args:
        name: The backend's name.
        courier: Delivers one batch of one run, in a worker thread.
        ledger: The store.
        parallel_runs: How many runs may have a batch in flight.
        sweep_seconds: How often it looks for what nobody woke it for: another process may ask for a
            replay, or for dead letters to be sent once more.
    """

    def __init__(
        self,
        name: str,
        courier: Courier,
        ledger: Ledger,
        parallel_runs: int,
        sweep_seconds: float = math.inf,
    ) -> None:
        self.name = name
        self.retries = 0
        self._courier = courier
        self._ledger = ledger
        self._turns = CapacityLimiter(parallel_runs)
        self._threads = CapacityLimiter(parallel_runs)
        self._sweep_seconds = sweep_seconds
        self._rest: anyio.CancelScope | None = None
        self._has_more: dict[int, bool] = {}
        self._has_taken_up = False
        self._tasks: TaskGroup | None = None
        self._stop = anyio.Event()
        self._failing: dict[int, str] = {}  # why, by the number of the run
        self._failures_in_a_row = 0  # of any runs, since something arrived
        self._pauses: dict[anyio.CancelScope, float] = {}  # until when each would last alone
        self._failure = ""
        self._noted: str | None = None  # what an earlier daemon noted is not known here
        self._noting = anyio.Lock()
        self._unnoted = self._unread = ""
        self._not_before = -math.inf  # by the loop's clock: the backend asked for it
        self.is_idle = anyio.Event()

    async def run(self, stop: anyio.Event) -> None:
        """Deliver until told to stop; what is in flight then is waited for.

        Cancelled, it leaves batches in flight behind; they are sent again by the next daemon.
        """
        async with anyio.create_task_group() as tasks:
            self._tasks, self._stop = tasks, stop
            try:
                while not stop.is_set():
                    await self._take_up()
                    with anyio.move_on_after(self._sweep_seconds) as self._rest:
                        await stop.wait()
                    self._rest = None
            finally:
                self._tasks = None  # others may still wake it, also when it was cancelled

    def sweep_every(self, seconds: float) -> None:
        """Look for what nobody woke it for that often from now on."""
        if seconds != self._sweep_seconds:
            self._sweep_seconds = seconds
            if self._rest is not None:
                self._rest.cancel()

    def wake(self, run_nos: Iterable[int]) -> None:
        """Deliver what is new of these runs; from the event loop only."""
        if self._tasks is None:
            return
        for run_no in run_nos:
            if run_no not in self._has_more:
                self._tasks.start_soon(self._deliver, run_no)
            self._has_more[run_no] = True
            if self.is_idle.is_set():
                self.is_idle = anyio.Event()

    def behind(self) -> list[int] | None:
        """Return the numbers of the runs that are not delivered; None before it knows them."""
        return list(self._has_more) if self._has_taken_up else None

    def failure(self) -> str:
        """Say why some run is not delivered now; "" where none fails."""
        return next(iter(self._failing.values()), "")

    async def _take_up(self) -> None:
        """Wake the runs that an earlier daemon left behind, or that are to be sent again."""
        failures = 0
        while not self._stop.is_set():
            try:
                self.wake(await to_thread.run_sync(self._ledger.behind, self.name))
            except Exception as error:  # noqa: BLE001  # the store recovers, and says so itself
                failures += 1
                with anyio.move_on_after(_delay(failures, error)):
                    await self._stop.wait()
            else:
                self._has_taken_up = True
                self._note_idle()
                return

    async def _deliver(self, run_no: int) -> None:
        failures = 0
        while self._has_more[run_no] and not self._stop.is_set():
            async with self._turns:
                # Only now: those before it may just have been told to spare the backend.
                await self._spare()
                if self._stop.is_set():
                    break
                error = await self._attempt(run_no)
            if error is None:
                failures = 0
                await self._note_success(run_no)
            else:
                failures += 1
                await self._note_failure(run_no, error)
                await self._pause(_delay(failures, error))
        del self._has_more[run_no]
        self._note_idle()

    async def _attempt(self, run_no: int) -> Exception | None:
        """Deliver the next batch of a run; return what was in the way, if anything."""
        self._has_more[run_no] = False
        try:
            has_more = await to_thread.run_sync(
                self._courier.advance, run_no, abandon_on_cancel=True, limiter=self._threads
            )
        except Exception as error:  # noqa: BLE001  # a third party's code may raise anything
            self.retries += 1
            self._failures_in_a_row += 1
            self._has_more[run_no] = True
            self._note_wish(error)
            return error
        self._has_more[run_no] |= has_more
        if has_more:  # else nothing was owed, and nobody asked the backend
            self._note_arrival()
        return None

    async def _pause(self, delay_seconds: float) -> None:
        """Wait for the next attempt of a run; longer while none arrives, until one does."""
        now = anyio.current_time()
        draw = random.random()  # noqa: S311  # nothing to be secret
        waiting, failures = len(self._pauses), self._failures_in_a_row
        stretched = stretched_seconds(delay_seconds, draw, waiting, failures)
        with anyio.CancelScope(deadline=now + stretched) as pause:
            self._pauses[pause] = now + delay_seconds
            try:
                await self._stop.wait()
            finally:
                del self._pauses[pause]

    def _note_arrival(self) -> None:
        """End what others wait longer than they would alone, as the backend is there."""
        if self._failures_in_a_row:
            self._failures_in_a_row = 0
            for pause, alone in self._pauses.items():
                if pause.deadline > alone:
                    pause.deadline = alone

    def is_spared(self) -> bool:
        """Whether the backend asked for time, and has it."""
        return anyio.current_time() < self._not_before

    async def _spare(self) -> None:
        """Wait for as long as the backend asked for: it meant all runs, not the one alone."""
        while self.is_spared() and not self._stop.is_set():
            with anyio.CancelScope(deadline=self._not_before):
                await self._stop.wait()

    def _note_wish(self, error: Exception) -> None:
        asked = error.retry_after_seconds if isinstance(error, Unavailable) else None
        if asked is not None:
            self._not_before = max(self._not_before, anyio.current_time() + asked)

    async def _note_failure(self, run_no: int, error: Exception) -> None:
        reason = _reason(error)
        if isinstance(error, _OF_STORE):
            self._say_of_store(error, reason)
            return
        is_news = reason not in self._failing.values()
        self._failing[run_no] = reason
        if is_news:
            _log.warning("backend unavailable", backend=self.name, reason=reason)
        if is_news or self._noted not in self._failing.values():
            await self._note_health(reason)

    def _say_of_store(self, error: Exception, reason: str) -> None:
        """Say once what the store cannot do; it is no fault of the backend."""
        about = {"backend": self.name, "reason": reason}
        if isinstance(error, Unread):
            if reason != self._unread:
                _log.error("what is to be sent cannot be read, trying again", **about)
            self._unread = reason
        else:
            if reason != self._unnoted:
                _log.error("what was sent cannot be noted, trying again", **about)
            self._unnoted = reason

    async def _note_success(self, run_no: int) -> None:
        """Note that a run gets on; the backend is well when no other has a failure behind it."""
        if self._unnoted:
            self._unnoted = ""
            _log.info("what was sent is noted", backend=self.name)
        if self._unread:
            self._unread = ""
            _log.info("what is to be sent is read", backend=self.name)
        self._failing.pop(run_no, None)
        if not self._failing:
            if self._failure:
                _log.info("backend answers again", backend=self.name)
            if self._noted != "":
                await self._note_health("")
        elif self._noted not in self._failing.values():
            await self._note_health(next(iter(self._failing.values())))

    async def _note_health(self, reason: str) -> None:
        """Note how the backend is; where that fails, the next failure or success tries again."""
        self._failure = reason
        async with self._noting:
            reason = self._failure  # it may have changed while others were noting
            # Where the store fails, the fold finds out as well, and says so.
            with contextlib.suppress(Exception):
                await to_thread.run_sync(self._ledger.note_health, self.name, reason)
                self._noted = reason

    def _note_idle(self) -> None:
        if not self._has_more:
            self.is_idle.set()


def _delay(failures: int, error: Exception) -> float:
    asked = error.retry_after_seconds if isinstance(error, Unavailable) else None
    if isinstance(error, Refused):  # of a whole run: somebody has to do something first
        failures = 100
    if isinstance(error, _OF_STORE):
        failures = min(failures, _MOST_STORE_FAILURES)
    return delay_seconds(failures, random.random(), asked)  # noqa: S311  # nothing to be secret


def _reason(error: Exception) -> str:
    kind = (
        "" if isinstance(error, (Unavailable, Refused, *_OF_STORE)) else f"{type(error).__name__}: "
    )
    return without_secrets(f"{kind}{error}")[:_MAX_ERROR_CHARACTERS]
