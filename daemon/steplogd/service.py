"""The service: wires follower, store and deliveries, and says in which order they stop."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Final

import anyio
import structlog
from anyio import to_thread

from steplog.home import database_path, make_folder, spool_folder
from steplogd.changes import Changes, changes
from steplogd.core.ticks import until_tick
from steplogd.deliveries import Deliveries
from steplogd.document_stage import DocumentStage
from steplogd.documents import DocumentWriter
from steplogd.first_error import first_of
from steplogd.folding.follow import Follower
from steplogd.folding.line import Line
from steplogd.glance import Glance
from steplogd.home_disk import HomeDisk
from steplogd.intake.tail import list_spools
from steplogd.meters import Meters
from steplogd.progress import Progress
from steplogd.remaining import Remaining
from steplogd.retention.archive import Archive
from steplogd.retention.archived_spools import ArchivedSpools
from steplogd.retention.stage import Retention
from steplogd.shared_home import refuse_unshareable, share
from steplogd.store.archived import Archived
from steplogd.store.cursors import Cursors
from steplogd.store.database import Database
from steplogd.store.documents import Documents
from steplogd.store.holding import give_back, take
from steplogd.store.run_logs import RunLogs
from steplogd.troubles import Troubles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine

    from steplogd.config import Config

_LEAST_CLOSE_SECONDS: Final = 1.0
_STORE_CHECK_SECONDS: Final = 1.0
_LOCK_SECONDS: Final = 0.5  # to wait for a lock at the start, where nobody can stop us meanwhile

_log = structlog.get_logger()


class Service:
    """One daemon over one home.

    Attributes:
        config: What it runs with now.
        progress: Whether it gets on; there once it has started.

    Args:
        config: What to run with; the home is made when absent.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stop = anyio.Event()
        self._stop_at = float("inf")
        self._database: Database | None = None
        self._troubles = Troubles()

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
            spool_bytes=await in_line(line.backlog_bytes),
            unreadable=await in_line(line.spools.unreadable),
            open_runs=await in_line(line.open_count),
            leaving=bool(await in_line(line.leaving)),
            backends=[
                await to_thread.run_sync(self._cursors.backlog, name)
                for name in self._deliveries.names
            ],
        )

    async def followed(self) -> None:
        """Wait until all spools are known, and what is appended to them from now on is heard of."""
        await self._follower.is_following.wait()

    def glance(self) -> Glance:
        """Return how it is, as far as that is known without looking."""
        return Glance(
            open_runs=self._line.open_count(),
            left_bytes=self._line.spools.left_bytes,
            backends=self._deliveries.glance(),
            troubles=self._troubles.now(),
        )

    async def look(self) -> None:
        """Count what each backend is behind with, for `glance`; costs next to nothing.

        Raises:
            StoreError: The store cannot be read now.
        """
        await self._deliveries.count_behind()

    def meters(self) -> Meters:
        """Return what was counted so far; cheap, and to be called by any thread."""
        spools = self._line.spools
        return Meters(
            line=self._line.meter,
            open_runs=self._line.open_count(),
            left_bytes=spools.left_bytes,
            unreadable=len(spools.unreadable()),
            troubles=len(self._troubles.now()),
            swept_bytes=self._follower.missed.size_bytes,
            free_bytes=self._disk.free_bytes(),
            min_free_bytes=self._disk.min_free,
            backends=self._deliveries.meters(),
        )

    async def adopt(self, config: Config) -> Changes:
        """Go on with another configuration; nothing that it leaves as it is pauses.

        Returns:
            What is different.

        Raises:
            ConfigError: It cannot be taken over, and the old one stays.
            StoreError: Nor can it be now.
        """
        found, settings = changes(self.config, config), config.settings
        await to_thread.run_sync(refuse_unshareable, config)
        min_free = await to_thread.run_sync(self._disk.min_free_of, settings.min_free)
        await self._deliveries.adopt(config, [*found.added, *found.changed])
        if config.retention != self.config.retention:
            self._retention.apply(config.retention)
        self.config, self._disk.min_free = config, min_free
        self._line.grace_seconds = settings.grace_seconds
        self._line.idle_seconds = settings.idle_seconds
        self._follower.adopt(settings)
        return found

    async def drained(self) -> None:
        """Wait until all that is in the spools now is folded, and every backend has it.

        What comes meanwhile is not waited for; nor are spools that cannot be read.

        Raises:
            OSError: The spools cannot be listed.
            StoreError: The store cannot be read now.
        """
        await self._follower.caught_up()
        await self._documents.write()
        await self.delivered(self._deliveries.names)

    async def delivered(self, backends: Collection[str]) -> None:
        """Wait until these backends have all that is folded now.

        Raises:
            StoreError: The store cannot be read now.
        """
        await self._deliveries.delivered(backends)

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as guard:
            async with anyio.create_task_group() as stages:
                for stage in self._stages():
                    stages.start_soon(stage)
                backends = self._deliveries.names
                _log.info("serving", home=str(self.config.home), backends=backends)
                try:
                    yield
                finally:
                    self._begin_to_stop()
                    guard.start_soon(self._cancel_late, stages.cancel_scope)
            guard.cancel_scope.cancel()
        self._line.close()
        _log.info("stopped", home=str(self.config.home))

    def _stages(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Name all that runs at once; each ends soon after the stop event is set."""
        follower = self._follower
        return [
            follower.watch,
            follower.sweep,
            follower.fold,
            follower.end_runs,
            self._documents.run,
            self._watch_store,
            self._retention.keep,
            functools.partial(self._deliveries.run, self._stop),
        ]

    def _open(self) -> None:
        config, settings = self.config, self.config.settings
        _make_home(config)
        database = Database(database_path(config.home), patience_seconds=_LOCK_SECONDS)
        self._database = database
        archive, archived = Archive(config.home), Archived(database)
        self._cursors = Cursors(database)
        self._deliveries = Deliveries(config.home, self._cursors, settings)
        take(database, lambda: archive.sizes() | dict(list_spools(spool_folder(config.home))))
        self._line = Line(
            config.home,
            RunLogs(database),
            settings.grace_seconds,
            settings.idle_seconds,
            ArchivedSpools(archive, archived),
        )
        self._make_stages(database, archive, archived)
        self._deliveries.begin_with(config.backends)

    def _make_stages(self, database: Database, archive: Archive, archived: Archived) -> None:
        """Build what runs for as long as it serves, around the line and the deliveries."""
        config = self.config
        self._disk = HomeDisk(config.home, config.settings.min_free)
        writer = DocumentWriter(config.home, Documents(database), self._disk)
        self._documents = DocumentStage(writer, self._stop)
        self._follower = Follower(
            config,
            self._line,
            self._disk,
            self._stop,
            self._troubles,
            on_advance=self._deliveries.wake,
            on_end=self._documents.wake,
        )
        self.progress = Progress(self._follower, database)
        self._retention = Retention(
            config.home,
            config.retention,
            archive,
            archived,
            self._line,
            self._follower,
            self._disk,
            self._stop,
            self._troubles,
        )

    async def _close(self) -> None:
        """Close what can be closed; a backend that hangs is left to the end of the process."""
        if self._database is None:
            return
        left = min(self._stop_at - anyio.current_time(), self.config.settings.shutdown_seconds)
        with anyio.move_on_after(max(left, _LEAST_CLOSE_SECONDS)):
            await self._deliveries.close()
        with anyio.move_on_after(_LEAST_CLOSE_SECONDS):
            await to_thread.run_sync(_put_away, self._database, abandon_on_cancel=True)

    def _begin_to_stop(self) -> None:
        self._stop_at = anyio.current_time() + self.config.settings.shutdown_seconds
        self._stop.set()
        self._follower.wake()
        self._documents.wake()

    async def _cancel_late(self, scope: anyio.CancelScope) -> None:
        await anyio.sleep(self.config.settings.shutdown_seconds)
        _log.warning("batches in flight are left behind, and sent again by the next daemon")
        scope.cancel()

    async def _watch_store(self) -> None:
        """Notice that the store is gone, or was found broken by who only tries again."""
        while not self._stop.is_set():
            if self._database is not None:
                await to_thread.run_sync(self._database.check)
            rest_seconds = until_tick(_STORE_CHECK_SECONDS, anyio.current_time())
            await self._follower.pause(rest_seconds)


def _make_home(config: Config) -> None:
    if config.settings.shared:
        share(config.home)
    else:
        make_folder(config.home)
        make_folder(spool_folder(config.home))


def _put_away(database: Database) -> None:
    give_back(database)
    database.close()
