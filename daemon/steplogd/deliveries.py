"""The deliveries: one courier and one exporter for each backend, begun, ended and closed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import anyio
import structlog
from anyio import to_thread

from steplogd.delivery.courier import Courier
from steplogd.delivery.exporter import Exporter
from steplogd.glance import BackendGlance

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from steplogd.config import BackendConfig, Settings
    from steplogd.delivery.contract import Backend
    from steplogd.store.cursors import Cursors

_CHECK_SECONDS: Final = 0.1

_log = structlog.get_logger()


class Delivery:
    """What takes run logs to one backend.

    Attributes:
        config: The backend as it is configured.
        exporter: Keeps it fed.
        courier: Takes batches to it.

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
        self.courier = Courier(config.name, backend, cursors)
        parallel_runs = backend.limits.parallel_runs
        self.exporter = Exporter(config.name, self.courier, cursors, parallel_runs, sweep_seconds)

    async def close(self) -> None:
        """Close the backend, whatever it does then."""
        try:
            await to_thread.run_sync(self.courier.close, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001  # a third party's code may raise anything
            _log.warning("backend cannot be closed", backend=self.config.name, reason=repr(error))


class Deliveries:
    """The deliveries to all backends, in the order of the configuration.

    Args:
        home: Where everything lies.
        cursors: Of all backends.
        settings: How to run.
    """

    def __init__(self, home: Path, cursors: Cursors, settings: Settings) -> None:
        self._home = home
        self._cursors = cursors
        self._settings = settings
        self._deliveries: list[Delivery] = []
        self._behind: dict[str, int] = {}

    @property
    def exporters(self) -> list[Exporter]:
        """Those of all backends."""
        return [delivery.exporter for delivery in self._deliveries]

    @property
    def names(self) -> list[str]:
        """What the backends' cursors go by."""
        return [delivery.config.name for delivery in self._deliveries]

    def add(self, backends: Collection[BackendConfig]) -> None:
        """Build backends that are not delivered to before `run`; contacts nobody.

        Raises:
            ConfigError: One cannot be built.
        """
        for config in backends:
            backend = config.build(self._home)
            sweep_seconds = self._settings.sweep_seconds
            self._deliveries.append(Delivery(config, backend, self._cursors, sweep_seconds))

    async def run(self, stop: anyio.Event) -> None:
        """Deliver until told to stop; what is in flight then is waited for, unless cancelled."""
        async with anyio.create_task_group() as tasks:
            for delivery in self._deliveries:
                tasks.start_soon(delivery.exporter.run, stop)

    def wake(self, run_nos: set[int]) -> None:
        """Deliver what is new of these runs."""
        for exporter in self.exporters:
            exporter.wake(run_nos)

    async def delivered(self, backends: Collection[str]) -> None:
        """Wait until these backends have all that is folded now.

        Raises:
            StoreError: The store cannot be read now.
        """
        for exporter in self.exporters:
            if exporter.name in backends:
                await self._delivered(exporter)

    async def count_behind(self) -> None:
        """Count anew how many observations each backend is owed; asks after no finished run.

        Raises:
            StoreError: The store cannot be read now.
        """
        for exporter in self.exporters:
            name, run_nos = exporter.name, exporter.behind()
            count = functools.partial(self._cursors.observations_behind, name, run_nos)
            self._behind[name] = (
                await to_thread.run_sync(count, abandon_on_cancel=True) if run_nos else 0
            )

    def glance(self) -> list[BackendGlance]:
        """Return how far each backend was when that was counted last."""
        return [
            BackendGlance(exporter.name, self._behind.get(exporter.name), exporter.failure())
            for exporter in self.exporters
        ]

    async def close(self) -> None:
        """Close all backends at once; cancelled, leave those that hang to the process's end."""
        async with anyio.create_task_group() as closing:
            for delivery in self._deliveries:
                closing.start_soon(delivery.close)

    async def _delivered(self, exporter: Exporter) -> None:
        owed = await to_thread.run_sync(self._cursors.owed, exporter.name)
        while owed:
            exporter.wake(owed)
            with anyio.move_on_after(_CHECK_SECONDS):
                await exporter.is_idle.wait()
            owed = await to_thread.run_sync(self._cursors.still_owed, exporter.name, owed)
