"""The metrics of the process, by the names that Prometheus expects of any.

Its client library reads when the machine was booted for them, which a service under
`ProcSubset=pid` cannot, and gives out none of them then. These need the process's own folder alone.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

_OWN: Final = Path("/proc/self")


class ProcessCollector(Collector):
    """Collects from the process that it is made in; it begins, to a second, when this is made."""

    def __init__(self) -> None:
        self._started = time.time()
        self._page_bytes = resource.getpagesize()

    def collect(self) -> Iterator[Metric]:
        """Yield all that can be read."""
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start time of the process since the epoch, in seconds.",
            value=self._started,
        )
        yield CounterMetricFamily(
            "process_cpu_seconds",
            "Total user and system CPU time spent, in seconds.",
            value=time.process_time(),
        )
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield GaugeMetricFamily(
            "process_max_fds", "Maximum number of open file descriptors.", value=most
        )
        try:
            yield from self._from_proc()
        except OSError:  # there is no /proc, or no descriptor left
            return

    def _from_proc(self) -> Iterator[Metric]:
        virtual, resident, *_ = (_OWN / "statm").read_text("ascii").split()
        yield GaugeMetricFamily(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            value=int(virtual) * self._page_bytes,
        )
        yield GaugeMetricFamily(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            value=int(resident) * self._page_bytes,
        )
        yield GaugeMetricFamily(
            "process_open_fds",
            "Number of open file descriptors.",
            value=sum(1 for _ in (_OWN / "fd").iterdir()),
        )
