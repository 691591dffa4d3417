"""The metrics: their names, what they mean, and how they come from what was counted and read."""

from __future__ import annotations

import itertools
import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from steplogd.meters import Histogram, Meters
    from steplogd.store.census import BackendCensus

_MICROSECONDS: Final = 1_000_000
_BACKEND: Final = ("backend",)


def build_info() -> Metric:
    """Return which version runs; it is 1."""
    labels = {"version": version("steplog"), "python": platform.python_version()}
    family = GaugeMetricFamily(
        "steplog_build_info", "The version of steplogd and of Python.", labels=list(labels)
    )
    family.add_metric(list(labels.values()), 1)
    return family


def store_up(is_up: bool) -> Metric:
    """Return whether the store could be read for this."""
    said = "Whether the run log store could be read for this scrape: 1, or 0."
    return GaugeMetricFamily("steplog_store_up", said, value=int(is_up))


def of_line(meters: Meters) -> Iterator[Metric]:
    """Yield what is known of spools and run logs."""
    line = meters.line
    yield _gauge("spool_backlog_bytes", "Bytes of spools not folded yet.", meters.left_bytes)
    yield _gauge("spools_unreadable", "Spools that cannot be folded now.", meters.unreadable)
    yield _gauge(
        "troubles",
        "What is tried again all the time: to list spools, to commit, to fold on a full disk.",
        meters.troubles,
    )
    yield _counter(
        "swept_bytes",
        "Bytes of spools that no notification told of: only the sweep found them.",
        meters.swept_bytes,
    )
    yield _counter("folded_bytes", "Bytes of spools folded and committed.", line.bytes)
    yield _counter("folded_observations", "Observations folded and committed.", line.observations)
    yield _commits(line.commits)
    yield _gauge("runs_open", "Runs that go on.", meters.open_runs)
    yield _counter("runs_begun", "Runs that began.", line.begun)
    ended = CounterMetricFamily(
        "steplog_runs_ended", "Runs that ended, by their status.", labels=["status"]
    )
    for status, count in line.ended.copy().items():
        ended.add_metric([status], count)
    yield ended
    yield _counter(
        "lost_events", "Calls that tasks could not record, and lines that are missing.", line.lost
    )
    yield _counter(
        "set_aside_pieces", "Pieces of spools that are no event, set aside.", line.set_aside
    )
    yield _gauge(
        "home_min_free_bytes", "Bytes of the home's disk left to tasks.", meters.min_free_bytes
    )
    yield _gauge("home_free_bytes", "Bytes left of the home's disk.", meters.free_bytes)


def of_backends(meters: Meters) -> Iterator[Metric]:
    """Yield what was given to each backend."""
    sent = _backend_counter("sent_observations", "Observations that the backend took.")
    refused = _backend_counter(
        "refused", "Observations, and states of runs, that the backend refused: dead letters."
    )
    retries = _backend_counter("retries", "How often a batch was to be tried again.")
    for backend in meters.backends:
        sent.add_metric([backend.name], backend.sent)
        refused.add_metric([backend.name], backend.refused)
        retries.add_metric([backend.name], backend.retries)
    yield from (sent, refused, retries)


def of_census(found: Mapping[str, BackendCensus]) -> Iterator[Metric]:
    """Yield what the store says of each backend."""
    now = time.time()
    runs = _backend_gauge("runs_behind", "Runs that are not delivered.")
    observations = _backend_gauge("observations_behind", "Observations that are not delivered.")
    oldest = _backend_gauge(
        "oldest_unacknowledged_seconds",
        "Age of the oldest observation that is not delivered, by the clock of who tracked it; "
        "0 without one.",
    )
    letters = _backend_gauge("dead_letters", "Dead letters there are: refused, not discarded.")
    failing = _backend_gauge("failing", "Whether the backend fails now: 1, or 0.")
    since = _backend_gauge(
        "failing_since_timestamp_seconds",
        "Since when the backend fails, in seconds since the epoch; 0 while it answers.",
    )
    for name, one in found.items():
        age = now - one.oldest_ts / _MICROSECONDS if one.oldest_ts is not None else 0.0
        runs.add_metric([name], one.runs)
        observations.add_metric([name], one.observations)
        oldest.add_metric([name], max(age, 0.0))
        letters.add_metric([name], one.dead_letters)
        failing.add_metric([name], int(one.failing_since is not None))
        since.add_metric([name], (one.failing_since or 0) / _MICROSECONDS)
    yield from (runs, observations, oldest, letters, failing, since)


def _commits(histogram: Histogram) -> Metric:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    below = itertools.accumulate(histogram.counts)
    return HistogramMetricFamily(
        "steplog_commit_duration_seconds",
        "How long transactions took that commit folded events with their checkpoints.",
        buckets=list(zip(bounds, below, strict=True)),
        sum_value=histogram.sum_seconds,
    )


def _gauge(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(f"steplog_{name}", said, value=value)


def _counter(name: str, said: str, value: float) -> Metric:
    return CounterMetricFamily(f"steplog_{name}", said, value=value)


def _backend_gauge(name: str, said: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"steplog_backend_{name}", said, labels=_BACKEND)


def _backend_counter(name: str, said: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"steplog_backend_{name}", said, labels=_BACKEND)
