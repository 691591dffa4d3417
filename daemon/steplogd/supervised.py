"""Serves as somebody's service: does what signals ask for, and tells the supervisor how it is.

A supervisor that is told nothing for too long kills us, and starts another. So it is told that we
are alive only while the event loop turns, and while line and store get on; see `Progress`.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import anyio

from steplogd.delivery.secrets import without_secrets
from steplogd.glance import in_words
from steplogd.serving import serve
from steplogd.store.breakage import StoreError

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from steplogd.config import Config
    from steplogd.progress import Progress
    from steplogd.service import Service
    from steplogd.systemd.supervisor import Supervisor

_BEAT_SECONDS: Final = 1.0
_BEATS_PER_WATCHDOG: Final = 8  # a turn may take half a second, and twice as many are asked for
_STATUS_SECONDS: Final = 3.0
_STATUS_REST: Final = 500  # times as long as it took: to know it must cost nothing
_MORE_SECONDS: Final = 15.0  # to ask for each time: what hangs is not waited for much longer
_LAST_SECONDS: Final = 5.0  # that closing may take, after what is in flight was waited for


class Supervised:
    """A daemon under a supervisor; without one, what is told is told to nobody.

    Args:
        config: What to serve.
        supervisor: Who is told.
    """

    def __init__(self, config: Config, supervisor: Supervisor) -> None:
        self._config = config
        self._supervisor = supervisor
        self._stop = anyio.Event()
        self._stop_until = float("inf")
        self._is_ready = False
        self._progress: Progress | None = None
        self._pulse: object = None

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT; raises as `serving.serve` does before that."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._await_signals)
            if self._supervisor.is_there:
                tasks.start_soon(self._beat)
            try:
                await serve(self._config, self._serve_one, self._stop, self._say)
            except StoreError:
                if not self._stop.is_set():
                    raise
            tasks.cancel_scope.cancel()

    async def _serve_one(self, service: Service) -> None:
        """Be there while one service serves, until told to stop."""
        async with anyio.create_task_group() as tasks:
            if self._supervisor.is_there:
                tasks.start_soon(service.progress.watch, self._beat_seconds())
                tasks.start_soon(self._tell, service)
                self._progress = service.progress
            try:
                await self._stop.wait()
            finally:
                self._progress = None
                tasks.cancel_scope.cancel()

    async def _await_signals(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                self._begin_to_stop()

    def _begin_to_stop(self) -> None:
        if not self._stop.is_set():
            seconds = self._config.settings.shutdown_seconds
            self._stop_until = anyio.current_time() + seconds + _LAST_SECONDS
            self._supervisor.stopping(f"stopping: {seconds:g} s at most for what is in flight")
        self._stop.set()

    async def _tell(self, service: Service) -> None:
        """Tell that it is ready, and then how it is, whenever that is something else."""
        await service.followed()
        self._is_ready = True
        self._supervisor.ready(without_secrets(in_words(self._config.home, service.glance())))
        while True:
            began = anyio.current_time()
            try:
                await service.look()
            except StoreError as error:
                self._say(f"waiting for the store: {error}")
            else:
                self._say(in_words(self._config.home, service.glance()))
            took_seconds = anyio.current_time() - began
            await anyio.sleep(max(_STATUS_SECONDS, _STATUS_REST * took_seconds))

    def _say(self, words: str) -> None:
        if not self._stop.is_set():
            self._supervisor.status(without_secrets(words))

    async def _beat(self) -> None:
        while True:
            await anyio.sleep(self._beat_seconds())
            self._supervisor.flush()
            if self._needs_time():
                self._supervisor.more_time(_MORE_SECONDS)
            if self._supervisor.watchdog_seconds and self._gets_on():
                self._supervisor.alive()

    def _beat_seconds(self) -> float:
        watchdog_seconds = self._supervisor.watchdog_seconds or float("inf")
        return min(_BEAT_SECONDS, watchdog_seconds / _BEATS_PER_WATCHDOG)

    def _needs_time(self) -> bool:
        """Tell whether it starts, which takes as long as it takes, or ends, which does not."""
        if self._stop.is_set():
            return anyio.current_time() < self._stop_until
        return not self._is_ready

    def _gets_on(self) -> bool:
        """Tell whether line and store have got on since they were looked at last.

        Before there are any, and at the end, that the event loop turns has to do.
        """
        if self._progress is None:
            return True
        before, self._pulse = self._pulse, self._progress.pulse()
        return self._pulse != before
