"""The collector: reads, when Prometheus asks, what stages have counted and what the store says."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client.registry import Collector

from steplogd.metrics.families import build_info, of_backends, of_census, of_line, store_up
from steplogd.store.breakage import StoreError
from steplogd.store.census import census

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prometheus_client.core import Metric

    from steplogd.meters import Meters

_LEAST_SECONDS: Final = 1.0
_REST: Final = 20
"""Times as long as it took, what was found is told again: whoever asks without end, and a backlog
of 100,000 runs, take a twentieth of a processor at most."""

_MOST_SECONDS: Final = 60.0
"""No longer, though: what a machine at its limit took minutes to find is not told for hours."""

_log = structlog.get_logger()


class ServiceCollector(Collector):
    """Collects from the service that serves now; safe to use from any thread.

    Args:
        path: The store.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._read_meters: Callable[[], Meters] | None = None
        self._found: list[Metric] = []
        self._found_until = float("-inf")
        self._unread: str | None = None

    def look_at(self, read_meters: Callable[[], Meters] | None) -> None:
        """Collect from another service from now on: each has counted from its own beginning."""
        self._read_meters = read_meters

    def collect(self) -> list[Metric]:
        """Return what is found now, or was just now; whatever cannot be read is left out."""
        with self._lock:
            began = self._clock()
            if began >= self._found_until:
                self._found = list(self._look())
                ended = self._clock()
                rest_seconds = min(max(_LEAST_SECONDS, _REST * (ended - began)), _MOST_SECONDS)
                self._found_until = ended + rest_seconds
            return self._found

    def _look(self) -> Iterator[Metric]:
        yield build_info()
        read_meters = self._read_meters
        if read_meters is None:
            yield store_up(False)
            return
        meters = read_meters()
        yield from of_line(meters)
        yield from of_backends(meters)
        try:
            behind = {one.name: one.behind for one in meters.backends if one.behind is not None}
            found = census(self._path, behind)
        except StoreError as error:
            self._say_once(str(error))
            yield store_up(False)
            return
        self._unread = None
        yield store_up(True)
        yield from of_census(found)

    def _say_once(self, reason: str) -> None:
        """Log why the store cannot be read when that begins and changes, not at each look."""
        if reason != self._unread:
            self._unread = reason
            _log.warning("store cannot be read for metrics", reason=reason)
