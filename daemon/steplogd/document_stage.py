"""The stage that writes the documents of runs that ended, until all are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import structlog
from anyio import to_thread

from steplogd.store.database import StoreError, StoreUnusable

if TYPE_CHECKING:
    from steplogd.documents import DocumentWriter

_RETRY_SECONDS: Final = 30.0
_RETRY_ALL_SECONDS: Final = 1.0  # the disk or the store is in the way, and soon may not be
_REST: Final = 4  # times as long as it took: lines after a run's end may keep coming

_log = structlog.get_logger()


class DocumentStage:
    """Writes documents when it is woken, and tries again those that could not be written.

    Attributes:
        unwritten: Why those cannot be written, by run id; "" stands for all.

    Args:
        writer: Writes them.
        stop: The stop event; whoever sets it wakes this.
    """

    def __init__(self, writer: DocumentWriter, stop: anyio.Event) -> None:
        self.unwritten: dict[str, str] = {}
        self._writer = writer
        self._stop = stop
        self._is_woken = anyio.Event()

    def wake(self) -> None:
        """Note that the document of some run is missing or outdated."""
        self._is_woken.set()

    async def run(self) -> None:
        """Write whenever there is something to write, until told to stop."""
        while not self._stop.is_set():
            self._is_woken = anyio.Event()
            began = anyio.current_time()
            await self.write()
            with anyio.move_on_after(_REST * (anyio.current_time() - began)):
                await self._stop.wait()
            with anyio.move_on_after(self._retry_seconds()):
                await self._is_woken.wait()

    async def write(self) -> None:
        """Write all that is missing or outdated, as far as it can be written now.

        Raises:
            StoreUnusable: The store is broken, or was taken away.
        """
        try:
            unwritten = await to_thread.run_sync(
                self._writer.write_outdated, abandon_on_cancel=True
            )
        except StoreUnusable:
            raise
        except StoreError as error:
            unwritten = {"": str(error)}
        for run_id, reason in unwritten.items() - self.unwritten.items():
            _log.error(
                "document cannot be written, trying again", run=run_id or None, reason=reason
            )
        self.unwritten = unwritten

    def _retry_seconds(self) -> float | None:
        if "" in self.unwritten:
            return _RETRY_ALL_SECONDS
        return _RETRY_SECONDS if self.unwritten else None
