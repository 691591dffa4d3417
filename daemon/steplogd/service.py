"""The service: wires watch, line, store and exporters, and says in which order they stop."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import msgspec
import structlog
from anyio import CapacityLimiter, to_thread
from steplog.home import HOME_MODE, database_path, spool_folder

from steplogd.delivery.courier import Courier
from steplogd.delivery.exporter import Exporter
from steplogd.documents import DocumentWriter
from steplogd.intake.watch import watch
from steplogd.line import Line
from steplogd.store.cursors import Backlog, Cursors
from steplogd.store.database import Database, StoreError
from steplogd.store.documents import Documents
from steplogd.store.run_logs import RunLogs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from steplogd.config import BackendConfig, Config

_RETRY_SECONDS: Final = 1.0
_UNWATCHED_SWEEP_SECONDS: Final = 1.0
_CHECKS_PER_GRACE: Final = 2

_log = structlog.get_logger()
R = TypeVar("R")


class Remaining(msgspec.Struct, frozen=True):
    """What is left to do: bytes to fold, runs whose end is awaited, and each backend's backlog."""

    spool_bytes: int
    open_runs: int
    leaving: bool
    backends: list[Backlog]


class Service:
    """One daemon over one home.

    Args:
        config: What to run with; the home is made when absent.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._settings = config.settings
        self._one_thread = CapacityLimiter(1)  # the line is for one thread at a time
        self._dirty: set[str] = set()
        self._has_dirty = anyio.Event()
        self._has_ended = anyio.Event()
        self._stop = anyio.Event()
        self._exporters: list[Exporter] = []
        self._couriers: list[Courier] = []

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[Service]:
        """Serve for as long as the block lasts; then stop within `shutdown_seconds` and a bit.

        Raises:
            StoreUnusable: The store is of another version, or broken.
            ConfigError: A backend cannot be built.
        """
        await to_thread.run_sync(self._open)
        try:
            async with anyio.create_task_group() as guard:
                async with anyio.create_task_group() as stages:
                    for stage in self._stages():
                        stages.start_soon(stage)
                    _log.info(
                        "serving",
                        home=str(self._config.home),
                        backends=[exporter.name for exporter in self._exporters],
                    )
                    try:
                        yield self
                    finally:
                        self._begin_to_stop()
                        guard.start_soon(self._cancel_late, stages.cancel_scope)
                guard.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()
            _log.info("stopped", home=str(self._config.home))

    async def remaining(self) -> Remaining:
        """Return what is left to do."""
        spool_bytes = await self._in_line(self._line.backlog_bytes)
        names = [exporter.name for exporter in self._exporters]
        backends = [await to_thread.run_sync(self._cursors.backlog, name) for name in names]
        leaving = self._line.is_anyone_leaving()
        return Remaining(spool_bytes, self._line.open_count(), leaving, backends)

    async def drained(self) -> None:
        """Wait until all that is in the spools now is folded, and every backend has it."""
        await self._folded()
        await self._end_once()
        while self._line.is_anyone_leaving():
            await self._pause(self._settings.grace_seconds / _CHECKS_PER_GRACE)
            await self._folded()
            await self._end_once()
        await self._write_documents()
        for exporter in self._exporters:
            await self._delivered(exporter)

    async def _folded(self) -> None:
        while run_ids := await self._in_line(self._line.unfolded):
            self._mark(run_ids)
            await self._fold_once()

    async def _delivered(self, exporter: Exporter) -> None:
        while run_nos := await to_thread.run_sync(self._cursors.behind, exporter.name):
            exporter.wake(run_nos)
            await exporter.is_idle.wait()

    def _stages(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Name all that runs at once; each ends soon after the stop event is set."""
        exporters = [functools.partial(exporter.run, self._stop) for exporter in self._exporters]
        return [
            self._watch,
            self._sweep,
            self._fold,
            self._end_runs,
            self._write_documents_forever,
            *exporters,
        ]

    def _open(self) -> None:
        config, settings = self._config, self._settings
        spool_folder(config.home).mkdir(mode=HOME_MODE, parents=True, exist_ok=True)
        self._database = Database(database_path(config.home))
        self._cursors = Cursors(self._database)
        run_logs = RunLogs(self._database)
        self._line = Line(config.home, run_logs, settings.grace_seconds, settings.idle_seconds)
        self._documents = DocumentWriter(config.home, Documents(self._database))
        for backend in config.backends:
            self._add(backend)

    def _add(self, backend_config: BackendConfig) -> None:
        backend = backend_config.kind(backend_config.options, self._config.home)
        courier = Courier(backend_config.name, backend, self._cursors)
        self._couriers.append(courier)
        parallel_runs = backend.limits.parallel_runs
        self._exporters.append(Exporter(backend_config.name, courier, self._cursors, parallel_runs))

    async def _close(self) -> None:
        """Close what can be closed; a backend that hangs is left to the end of the process."""
        with anyio.move_on_after(self._settings.shutdown_seconds):
            for courier in self._couriers:
                await to_thread.run_sync(courier.close, abandon_on_cancel=True)
        with anyio.move_on_after(self._settings.shutdown_seconds):
            await to_thread.run_sync(self._database.close, abandon_on_cancel=True)

    def _begin_to_stop(self) -> None:
        self._stop.set()
        self._has_dirty.set()
        self._has_ended.set()

    async def _cancel_late(self, scope: anyio.CancelScope) -> None:
        await anyio.sleep(self._settings.shutdown_seconds)
        _log.warning("batches in flight are left behind, and sent again by the next daemon")
        scope.cancel()

    async def _watch(self) -> None:
        try:
            async for run_ids in watch(spool_folder(self._config.home), self._stop):
                self._mark(run_ids)
                if not run_ids:
                    await self._sweep_once()
        except OSError as error:
            _log.warning("no notifications: sweeping every second instead", reason=str(error))
            await self._sweep_every(_UNWATCHED_SWEEP_SECONDS)

    async def _sweep(self) -> None:
        await self._sweep_every(self._settings.sweep_seconds)

    async def _sweep_every(self, seconds: float) -> None:
        while not self._stop.is_set():
            await self._sweep_once()
            await self._pause(seconds)

    async def _sweep_once(self) -> None:
        try:
            self._mark(await self._in_line(self._line.sweep))
        except OSError as error:
            _log.error("spools cannot be listed, trying again", reason=str(error))

    async def _fold(self) -> None:
        while not self._stop.is_set():
            await self._has_dirty.wait()
            await self._fold_once()

    async def _fold_once(self) -> None:
        """Fold a piece of all that is marked; what is left of it stays marked."""
        run_ids, self._dirty, self._has_dirty = self._dirty, set(), anyio.Event()
        try:
            done = await self._in_line(self._line.run, run_ids)
        except StoreError as error:
            self._mark(run_ids)
            _log.error("run log cannot be committed, trying again", reason=str(error))
            await self._pause(_RETRY_SECONDS)
        else:
            self._mark(done.unfinished)
            self._wake_exporters(done.advanced)

    async def _end_runs(self) -> None:
        while not self._stop.is_set():
            await self._end_once()
            await self._pause(self._settings.grace_seconds / _CHECKS_PER_GRACE)

    async def _end_once(self) -> None:
        try:
            ended = await self._in_line(self._line.end_runs, time.monotonic(), time.time())
        except StoreError as error:
            _log.error("end of runs cannot be committed, trying again", reason=str(error))
            return
        if ended:
            self._wake_exporters(ended)
            self._has_ended.set()

    async def _write_documents_forever(self) -> None:
        while not self._stop.is_set():
            self._has_ended = anyio.Event()
            await self._write_documents()
            await self._has_ended.wait()

    async def _write_documents(self) -> None:
        try:
            await to_thread.run_sync(self._documents.write_outdated, abandon_on_cancel=True)
        except (OSError, StoreError) as error:
            _log.error("documents cannot be written", reason=str(error))

    def _mark(self, run_ids: set[str]) -> None:
        if run_ids:
            self._dirty |= run_ids
            self._has_dirty.set()

    def _wake_exporters(self, run_nos: set[int]) -> None:
        for exporter in self._exporters:
            exporter.wake(run_nos)

    async def _in_line(self, function: Callable[..., R], *arguments: object) -> R:
        return await to_thread.run_sync(function, *arguments, limiter=self._one_thread)

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._stop.wait()
