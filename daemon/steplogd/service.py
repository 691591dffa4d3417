"""The service: wires follower, store and exporters, and says in which order they stop."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
import structlog
from anyio import to_thread

from steplog.home import database_path, make_folder, spool_folder
from steplogd.archive import Archive
from steplogd.archived_spools import ArchivedSpools
from steplogd.delivery.courier import Courier
from steplogd.delivery.exporter import Exporter
from steplogd.documents import DocumentWriter
from steplogd.follow import Follower
from steplogd.home_disk import HomeDisk
from steplogd.intake.tail import list_spools
from steplogd.line import Line
from steplogd.retention import Retention
from steplogd.shared_home import share
from steplogd.store.archived import Archived
from steplogd.store.cursors import Backlog, Cursors
from steplogd.store.database import Database, StoreError, StoreUnusable
from steplogd.store.documents import Documents
from steplogd.store.holding import give_back, take
from steplogd.store.run_logs import RunLogs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine

    from steplogd.config import BackendConfig, Config

_DELIVERY_CHECK_SECONDS: Final = 0.1
_DOCUMENT_RETRY_SECONDS: Final = 30.0
_ALL_DOCUMENTS_RETRY_SECONDS: Final = (
    1.0  # the disk or the store is in the way, and soon may not be
)
_DOCUMENT_REST: Final = 4  # times as long as it took: lines after a run's end may keep coming
_LEAST_CLOSE_SECONDS: Final = 1.0
_STORE_CHECK_SECONDS: Final = 1.0
_LOCK_SECONDS: Final = 0.5  # to wait for a lock at the start, where nobody can stop us meanwhile

_log = structlog.get_logger()


class Remaining(msgspec.Struct, frozen=True):
    """What is left to do.

    Attributes:
        spool_bytes: Not folded yet.
        unreadable: Why a spool cannot be folded, by run id.
        open_runs: Runs that have not ended.
        leaving: Whether one of them is about to.
        backends: Each backend's backlog.
    """

    spool_bytes: int
    unreadable: dict[str, str]
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
        self._has_ended = anyio.Event()
        self._stop = anyio.Event()
        self._stop_at = float("inf")
        self._database: Database | None = None
        self._exporters: list[Exporter] = []
        self._couriers: list[Courier] = []
        self._unwritten: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[Service]:
        """Serve for as long as the block lasts; then stop within `shutdown_seconds` and a bit.

        Raises:
            StoreUnusable: The store is of another version, broken, or was taken away; see `serve`.
            StoreBusy: Another program has it locked.
            ConfigError: A backend cannot be built.
        """
        try:
            await to_thread.run_sync(self._open)
            async with self._serving():
                yield self
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()

    async def remaining(self) -> Remaining:
        """Return what is left to do.

        Raises:
            OSError: The spools cannot be listed.
            StoreError: The store cannot be read now.
        """
        in_line, line = self._follower.in_line, self._line
        return Remaining(
            spool_bytes=await in_line(line.spools.backlog_bytes),
            unreadable=await in_line(line.spools.unreadable),
            open_runs=await in_line(line.open_count),
            leaving=bool(await in_line(line.leaving)),
            backends=[
                await to_thread.run_sync(self._cursors.backlog, exporter.name)
                for exporter in self._exporters
            ],
        )

    async def drained(self) -> None:
        """Wait until all that is in the spools now is folded, and every backend has it.

        What comes meanwhile is not waited for; nor are spools that cannot be read.

        Raises:
            OSError: The spools cannot be listed.
            StoreError: The store cannot be read now.
        """
        await self._follower.caught_up()
        await self._write_documents()
        await self.delivered([exporter.name for exporter in self._exporters])

    async def delivered(self, backends: Collection[str]) -> None:
        """Wait until these backends have all that is folded now.

        Raises:
            StoreError: The store cannot be read now.
        """
        for exporter in self._exporters:
            if exporter.name in backends:
                await self._delivered(exporter)

    async def _delivered(self, exporter: Exporter) -> None:
        owed = await to_thread.run_sync(self._cursors.owed, exporter.name)
        while owed:
            exporter.wake(owed)
            with anyio.move_on_after(_DELIVERY_CHECK_SECONDS):
                await exporter.is_idle.wait()
            owed = await to_thread.run_sync(self._cursors.still_owed, exporter.name, owed)

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as guard:
            async with anyio.create_task_group() as stages:
                for stage in self._stages():
                    stages.start_soon(stage)
                names = [exporter.name for exporter in self._exporters]
                _log.info("serving", home=str(self._config.home), backends=names)
                try:
                    yield
                finally:
                    self._begin_to_stop()
                    guard.start_soon(self._cancel_late, stages.cancel_scope)
            guard.cancel_scope.cancel()
        self._line.close()
        _log.info("stopped", home=str(self._config.home))

    def _stages(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Name all that runs at once; each ends soon after the stop event is set."""
        follower = self._follower
        exporters = [functools.partial(exporter.run, self._stop) for exporter in self._exporters]
        return [
            follower.watch,
            follower.sweep,
            follower.fold,
            follower.end_runs,
            self._write_documents_forever,
            self._watch_store,
            self._retention.keep,
            *exporters,
        ]

    def _open(self) -> None:
        config, settings = self._config, self._settings
        if settings.shared:
            share(config.home)
        else:
            make_folder(config.home)
            make_folder(spool_folder(config.home))
        database = Database(database_path(config.home), patience_seconds=_LOCK_SECONDS)
        self._database = database
        archive, archived = Archive(config.home), Archived(database)
        take(database, lambda: archive.sizes() | dict(list_spools(spool_folder(config.home))))
        self._cursors = Cursors(database)
        run_logs = RunLogs(database)
        self._line = Line(
            config.home,
            run_logs,
            settings.grace_seconds,
            settings.idle_seconds,
            ArchivedSpools(archive, archived),
        )
        disk = HomeDisk(config.home, settings.min_free)
        self._follower = Follower(
            config,
            self._line,
            disk,
            self._stop,
            on_advance=self._wake_exporters,
            on_end=lambda: self._has_ended.set(),
        )
        self._retention = Retention(
            config.home,
            config.retention,
            archive,
            archived,
            self._line,
            self._follower,
            disk,
            self._stop,
        )
        self._documents = DocumentWriter(config.home, Documents(database), disk)
        self._cursors.configure([(backend.name, backend.type) for backend in config.backends])
        for backend in config.backends:
            self._add(backend)

    def _add(self, backend_config: BackendConfig) -> None:
        name, backend = backend_config.name, backend_config.build(self._config.home)
        courier = Courier(name, backend, self._cursors)
        self._couriers.append(courier)
        sweep_seconds = self._settings.sweep_seconds
        parallel_runs = backend.limits.parallel_runs
        exporter = Exporter(name, courier, self._cursors, parallel_runs, sweep_seconds)
        self._exporters.append(exporter)

    async def _close(self) -> None:
        """Close what can be closed; a backend that hangs is left to the end of the process."""
        left = min(self._stop_at - anyio.current_time(), self._settings.shutdown_seconds)
        with anyio.move_on_after(max(left, _LEAST_CLOSE_SECONDS)):
            async with anyio.create_task_group() as closing:
                for courier in self._couriers:
                    closing.start_soon(self._close_courier, courier)
        if self._database is not None:
            with anyio.move_on_after(_LEAST_CLOSE_SECONDS):
                await to_thread.run_sync(_put_away, self._database, abandon_on_cancel=True)

    async def _close_courier(self, courier: Courier) -> None:
        try:
            await to_thread.run_sync(courier.close, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001  # a third party's code may raise anything
            _log.warning("backend cannot be closed", backend=courier.name, reason=repr(error))

    def _begin_to_stop(self) -> None:
        self._stop_at = anyio.current_time() + self._settings.shutdown_seconds
        self._stop.set()
        self._follower.wake()
        self._has_ended.set()

    async def _cancel_late(self, scope: anyio.CancelScope) -> None:
        await anyio.sleep(self._settings.shutdown_seconds)
        _log.warning("batches in flight are left behind, and sent again by the next daemon")
        scope.cancel()

    async def _write_documents_forever(self) -> None:
        while not self._stop.is_set():
            self._has_ended = anyio.Event()
            began = anyio.current_time()
            await self._write_documents()
            await self._follower.pause(_DOCUMENT_REST * (anyio.current_time() - began))
            with anyio.move_on_after(_retry_seconds(self._unwritten)):
                await self._has_ended.wait()

    async def _write_documents(self) -> None:
        try:
            unwritten = await to_thread.run_sync(
                self._documents.write_outdated, abandon_on_cancel=True
            )
        except StoreUnusable:
            raise
        except StoreError as error:
            unwritten = {"": str(error)}
        for run_id, reason in unwritten.items() - self._unwritten.items():
            _log.error(
                "document cannot be written, trying again", run=run_id or None, reason=reason
            )
        self._unwritten = unwritten

    async def _watch_store(self) -> None:
        """Notice that the store is gone, or was found broken by who only tries again."""
        while not self._stop.is_set():
            if self._database is not None:
                await to_thread.run_sync(self._database.check)
            await self._follower.pause(_STORE_CHECK_SECONDS)

    def _wake_exporters(self, run_nos: set[int]) -> None:
        for exporter in self._exporters:
            exporter.wake(run_nos)


def _retry_seconds(unwritten: dict[str, str]) -> float | None:
    if "" in unwritten:
        return _ALL_DOCUMENTS_RETRY_SECONDS
    return _DOCUMENT_RETRY_SECONDS if unwritten else None


def _put_away(database: Database) -> None:
    give_back(database)
    database.close()


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in a task group's: the others are what it led to."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
