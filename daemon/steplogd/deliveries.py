"""The deliveries to all backends, which come and go as they are configured."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from steplogd.backend_delivery import CLOSE_SECONDS, Delivery
from steplogd.config import ConfigError
from steplogd.glance import BackendGlance

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from anyio.abc import TaskGroup

    from steplogd.config import BackendConfig, Config, Settings
    from steplogd.delivery.exporter import Exporter
    from steplogd.meters import BackendMeters
    from steplogd.store.cursors import Cursors

_CHECK_SECONDS: Final = 0.1
_BUILD_SECONDS: Final = 120.0
"""How long a backend may take to be built: its package may be imported from a cold network disk."""


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
        self._ending: list[Delivery] = []
        self._tasks: TaskGroup | None = None
        self._behind: dict[str, int | None] = {}

    @property
    def exporters(self) -> list[Exporter]:
        """Those of all backends."""
        return [delivery.exporter for delivery in self._deliveries]

    @property
    def names(self) -> list[str]:
        """What the backends' cursors go by."""
        return [delivery.config.name for delivery in self._deliveries]

    def begin_with(self, backends: Collection[BackendConfig]) -> None:
        """Build the first backends, before `run`; contacts nobody.

        Raises:
            ConfigError: One cannot be built.
            StoreError: It cannot be noted which they are.
        """
        self._note(backends)
        for config in backends:
            self._deliveries.append(self._make(config))

    async def run(self, stop: anyio.Event) -> None:
        """Deliver until told to stop; what is in flight then is waited for, unless cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for delivery in self._deliveries:
                tasks.start_soon(delivery.run)
            await stop.wait()
            self._tasks = None
            for delivery in self._deliveries:
                delivery.stop()

    async def adopt(self, config: Config, anew: Collection[str]) -> None:
        """Go on with other backends, all of them or none; those that stay as they are go on.

        Those that are not there any more are ended in the background. So is what a changed one was
        before, and it begins again after that: what was in flight may be sent again.

        Args:
            config: The configuration.
            anew: The names of those that are new, or changed.

        Raises:
            ConfigError: One of them cannot be built.
            StoreError: It cannot be noted which they are.
        """
        made: dict[str, Delivery] = {}
        try:
            for backend in config.backends:
                if backend.name in anew:
                    made[backend.name] = await self._made(backend)
            with anyio.CancelScope(shield=True):  # who is noted is delivered to, and nobody else
                await to_thread.run_sync(self._note, config.backends)
        except BaseException:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                for delivery in made.values():
                    await delivery.close()
            raise
        self._exchange(config, made)

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
            if not run_nos:
                self._behind[name] = None if run_nos is None else 0
                continue
            count = functools.partial(self._cursors.observations_behind, name, run_nos)
            self._behind[name] = await to_thread.run_sync(count, abandon_on_cancel=True)

    def glance(self) -> list[BackendGlance]:
        """Return how far each backend was when that was counted last."""
        return [
            BackendGlance(exporter.name, self._behind.get(exporter.name), exporter.failure())
            for exporter in self.exporters
        ]

    def meters(self) -> list[BackendMeters]:
        """Return what each backend was given so far; to be called by any thread."""
        return [delivery.meters() for delivery in self._deliveries]

    async def close(self) -> None:
        """Close all backends at once; cancelled, leave those that hang to the process's end."""
        async with anyio.create_task_group() as closing:
            for delivery in (*self._deliveries, *self._ending):
                closing.start_soon(delivery.close)

    def _note(self, backends: Collection[BackendConfig]) -> None:
        self._cursors.configure([(backend.name, backend.type) for backend in backends])

    def _make(self, config: BackendConfig) -> Delivery:
        backend = config.build(self._home)
        return Delivery(config, backend, self._cursors, self._settings.sweep_seconds)

    async def _made(self, config: BackendConfig) -> Delivery:
        with anyio.move_on_after(_BUILD_SECONDS):
            return await to_thread.run_sync(self._make, config, abandon_on_cancel=True)
        raise ConfigError(
            f"Backend {config.name!r} cannot be built: that takes more than {_BUILD_SECONDS:g} s."
        )

    def _exchange(self, config: Config, made: Mapping[str, Delivery]) -> None:
        """Let go of deliveries that are not configured any more, and begin with those made anew."""
        self._settings = config.settings
        before = {delivery.config.name: delivery for delivery in self._deliveries}
        self._deliveries = [
            made[backend.name] if backend.name in made else before[backend.name]
            for backend in config.backends
        ]
        for delivery in before.values():
            if delivery not in self._deliveries:
                self._begin_to_end(delivery)
        for delivery in self._deliveries:
            delivery.exporter.sweep_every(config.settings.sweep_seconds)
        for name, delivery in made.items():
            ending = [other for other in self._ending if other.config.name == name]
            if self._tasks is not None:
                self._tasks.start_soon(delivery.run, ending)

    def _begin_to_end(self, delivery: Delivery) -> None:
        self._behind.pop(delivery.config.name, None)
        self._ending.append(delivery)
        if self._tasks is not None:
            self._tasks.start_soon(self._end, delivery)

    async def _end(self, delivery: Delivery) -> None:
        await delivery.end(self._settings.shutdown_seconds)
        self._ending.remove(delivery)

    async def _delivered(self, exporter: Exporter) -> None:
        owed = await to_thread.run_sync(self._cursors.owed, exporter.name)
        while owed:
            exporter.wake(owed)
            with anyio.move_on_after(_CHECK_SECONDS):
                await exporter.is_idle.wait()
            owed = await to_thread.run_sync(self._cursors.still_owed, exporter.name, owed)
