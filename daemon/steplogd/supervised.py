"""Serves as somebody's service: does what signals ask for, and tells a supervisor how it is.

A supervisor that is told nothing for too long kills us, and starts another. So it is told that we
are alive only while the event loop turns, and while line and store get on; see `Progress`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final

import anyio
import structlog
from anyio import to_thread
from msgspec.structs import asdict

from steplogd.config import ConfigError
from steplogd.delivery.secrets import without_secrets
from steplogd.glance import in_words
from steplogd.serving import serve
from steplogd.store.breakage import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskStatus

    from steplogd.config import Config
    from steplogd.glance import Glance
    from steplogd.meters import Meters
    from steplogd.progress import Progress
    from steplogd.service import Service
    from steplogd.systemd.supervisor import Supervisor

_BEAT_SECONDS: Final = 5.0
_BEATS_PER_WATCHDOG: Final = 6  # a turn takes its time, so that every other one may come too late
_STATUS_SECONDS: Final = 3.0
_STATUS_REST: Final = 500  # times as long as it took: to know it must cost nothing
_LONGEST_REST_SECONDS: Final = 30.0  # though it took long because the store was locked, say
_LOAD_SECONDS: Final = 30.0  # a file may lie on a disk that does not answer
_MORE_SECONDS: Final = 15.0  # to ask for each time: what hangs is not waited for much longer
_LAST_SECONDS: Final = 5.0  # that closing may take, after what is in flight was waited for
_STDERR: Final = 2

_log = structlog.get_logger()


class Supervised:
    """A daemon that SIGTERM and SIGINT stop, and that SIGHUP makes read its configuration again.

    Args:
        config: What to serve.
        load: Reads and checks the configuration, as it is now.
        supervisor: Who is told, if anybody.
        look_at: Called with what reads the meters of the service that serves from now on, if any.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        supervisor: Supervisor,
        look_at: Callable[[Callable[[], Meters] | None], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._load = load
        self._supervisor = supervisor
        self._look_at = look_at
        self._is_on_terminal = os.isatty(_STDERR)
        self._is_reload_asked = anyio.Event()
        self._refusal = ""
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
            tasks.start_soon(self._attend, service)
            self._look_at(service.meters)
            if self._supervisor.is_there:
                tasks.start_soon(service.progress.watch, self._beat_seconds())
                self._progress = service.progress
            try:
                await self._stop.wait()
            finally:
                self._look_at(None)
                self._progress = None
                tasks.cancel_scope.cancel()

    async def _attend(self, service: Service) -> None:
        """Be ready once all is followed, and take over a changed configuration when asked to."""
        await service.followed()
        self._be_ready(service)
        async with anyio.create_task_group() as tasks:
            if self._supervisor.is_there:
                tasks.start_soon(self._tell, service)
            while True:
                await self._is_reload_asked.wait()
                self._is_reload_asked = anyio.Event()  # who asks from now on is not too late
                self._is_ready = False
                self._supervisor.reloading()
                await self._reload(service)
                self._be_ready(service)

    async def _reload(self, service: Service) -> None:
        try:
            config = await self._loaded()
            found = await service.adopt(config)
        except anyio.get_cancelled_exc_class():  # by the end of this service; for the next one
            self._is_reload_asked.set()
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with a file ends no daemon
            self._refusal = f"the changed configuration is refused, the old one stays: {error}"
            _log.error("configuration refused, the old one stays", reason=str(error))
        else:
            self._config, self._refusal = config, ""
            _log.info("configuration taken over", **asdict(found))

    async def _loaded(self) -> Config:
        with anyio.move_on_after(_LOAD_SECONDS):
            return await to_thread.run_sync(self._load, abandon_on_cancel=True)
        raise ConfigError(f"The configuration cannot be read within {_LOAD_SECONDS:g} s.")

    async def _await_signals(self, *, task_status: TaskStatus[None]) -> None:
        # Not by the receiver, which gives a signal back to its default: at the end that is death.
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._hang_up))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                task_status.started()
                async for _ in signals:
                    self._begin_to_stop()
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _hang_up(self) -> None:
        if self._is_on_terminal and not os.isatty(_STDERR):
            self._begin_to_stop()
        else:
            self._is_reload_asked.set()

    def _begin_to_stop(self) -> None:
        if not self._stop.is_set():
            seconds = self._config.settings.shutdown_seconds
            self._stop_until = anyio.current_time() + seconds + _LAST_SECONDS
            self._supervisor.stopping(f"stopping: {seconds:g} s at most for what is in flight")
            self._supervisor.more_time(_MORE_SECONDS)
        self._stop.set()

    def _be_ready(self, service: Service) -> None:
        self._is_ready = True
        self._supervisor.ready(without_secrets(self._words(service)))

    def _words(self, service: Service) -> str:
        words = in_words(self._config.home, service.glance())
        return "; ".join(filter(None, (words, self._refusal)))

    async def _tell(self, service: Service) -> None:
        """Tell how it is, whenever that is something else."""
        told: Glance | None = None
        while True:
            began = anyio.current_time()
            try:
                await service.look()
            except StoreError as error:
                self._say(f"waiting for the store: {error}")
                told = None
            else:
                before, told = told, service.glance()
                if told != before:
                    self._say(self._words(service))
            rest_seconds = _STATUS_REST * (anyio.current_time() - began)
            await anyio.sleep(min(max(_STATUS_SECONDS, rest_seconds), _LONGEST_REST_SECONDS))

    def _say(self, words: str) -> None:
        if not self._stop.is_set():
            self._supervisor.status(without_secrets(words))

    async def _beat(self) -> None:
        while True:
            self._supervisor.flush()
            if self._gets_on():
                if self._needs_time():
                    self._supervisor.more_time(_MORE_SECONDS)
                if self._supervisor.watchdog_seconds:
                    self._supervisor.alive()
            await anyio.sleep(self._beat_seconds())

    def _beat_seconds(self) -> float:
        watchdog_seconds = self._supervisor.watchdog_seconds or float("inf")
        return min(_BEAT_SECONDS, watchdog_seconds / _BEATS_PER_WATCHDOG)

    def _needs_time(self) -> bool:
        """Tell whether it starts or reloads, which may take its time, or ends, within its own."""
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
