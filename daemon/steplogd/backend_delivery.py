"""The delivery to one backend: an exporter and a courier, from their beginning to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import structlog
from anyio import to_thread

from steplogd.delivery.courier import Courier
from steplogd.delivery.exporter import Exporter
from steplogd.meters import BackendMeters

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steplogd.config import BackendConfig
    from steplogd.delivery.contract import Backend
    from steplogd.store.cursors import Cursors

CLOSE_SECONDS: Final = 1.0
"""How long a backend may take to close while the others are served."""

_log = structlog.get_logger()


class Delivery:
    """What takes run logs to one backend, as it is configured now.

    Attributes:
        config: The backend's configuration.
        exporter: Keeps it fed.
        has_ended: Set once it has ended for good, in the middle of all others.

    Args:
        config: The same.
        backend: The backend, built from it.
        cursors: Of all backends.
        sweep_seconds: How often it looks for what nobody woke it for.
    """

    def __init__(
        self, config: BackendConfig, backend: Backend, cursors: Cursors, sweep_seconds: float
    ) -> None:
        self.config = config
        self.has_ended = anyio.Event()
        self._courier = Courier(config.name, backend, cursors)
        parallel_runs = backend.limits.parallel_runs
        self.exporter = Exporter(config.name, self._courier, cursors, parallel_runs, sweep_seconds)
        self._stop = anyio.Event()
        self._has_stopped = anyio.Event()
        self._scope: anyio.CancelScope | None = None
        self._is_closed = False

    async def run(self, before: Iterable[Delivery] = ()) -> None:
        """Deliver until told to stop, once all others with the same name have ended."""
        with anyio.CancelScope() as self._scope:
            for other in before:
                await other.has_ended.wait()
            await self.exporter.run(self._stop)
        self._has_stopped.set()

    def stop(self) -> None:
        """Tell it to stop; what is in flight is waited for."""
        self._stop.set()

    async def end(self, patience_seconds: float) -> None:
        """Stop, wait so long for what is in flight, and close; what hangs is left behind."""
        self.stop()
        with anyio.move_on_after(patience_seconds):
            await self._has_stopped.wait()
        if self._scope is not None:
            self._scope.cancel()
        with anyio.move_on_after(CLOSE_SECONDS):
            await self.close()
        self.has_ended.set()

    def meters(self) -> BackendMeters:
        """Return what the backend was given so far; to be called by any thread."""
        counts, exporter = self._courier.counts, self.exporter
        return BackendMeters(
            name=exporter.name,
            sent=counts.sent,
            refused=counts.refused,
            retries=exporter.retries,
            behind=exporter.behind(),
        )

    async def close(self) -> None:
        """Close the backend, whatever it does then; once."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await to_thread.run_sync(self._courier.close, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001  # a third party's code may raise anything
            _log.warning("backend cannot be closed", backend=self.config.name, reason=repr(error))
