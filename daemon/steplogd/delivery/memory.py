"""A backend that delivers into this process's memory, where tests can see what arrived."""

from __future__ import annotations

import threading
from collections.abc import Sequence  # msgspec resolves the types of a struct's fields
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import msgspec

from steplog.values import to_json
from steplogd.delivery.contract import Limits, Observation, Point, RunInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


class MemoryOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of the backend's table.

    Attributes:
        store: Which tracker of this home: two backends may have one each, or share one.
    """

    store: str = "default"


class Call(msgspec.Struct, frozen=True):
    """What is asked of the tracker.

    Attributes:
        method: Which method of the contract; `held` for reading back.
        run: The run as the session knows it.
        batch: The observations of a `send`; empty otherwise.
    """

    method: Literal["open", "look", "send", "settle", "held"]
    run: RunInfo
    batch: Sequence[Observation] = ()


class MemoryRun:
    """What arrived of one run.

    Attributes:
        settled: The run as it was settled last, or opened if it never was.
        observations: By position.
        received: How many observations came, those that came again included.
        settlements: How often the run was settled.
    """

    def __init__(self, run: RunInfo) -> None:
        self.settled = run
        self.observations: dict[int, Observation] = {}
        self.received = 0
        self.settlements = 0


class MemoryTracker:
    """The tracker itself: it outlives backends and sessions, as a server outlives connections.

    Attributes:
        runs: By run id.
        fault: Called before each call has any effect, in the caller's thread. It may raise
            `Unavailable` or `Refused`, or block for as long as it likes; None lets all pass.
    """

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        self.fault: Callable[[Call], None] | None = None

    def ask(self, call: Call) -> None:
        """Let the fault happen, if there is one for this call."""
        if self.fault:
            self.fault(call)


_trackers: Final[dict[tuple[Path, str], MemoryTracker]] = {}
_making: Final = threading.Lock()


class MemoryBackend:
    """A connection to the tracker of a home."""

    Options: ClassVar[type[msgspec.Struct]] = MemoryOptions
    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""

    limits: Limits

    def __init__(self, options: MemoryOptions, home: Path) -> None:
        self.limits = Limits()
        self.tracker = self.tracker_of(home, options.store)

    @staticmethod
    def tracker_of(home: Path, store: str = "default") -> MemoryTracker:
        """Return what all backends of this home and store in this process deliver to.

        It is kept until the process ends; a test may ask before, during and after a daemon's run.
        """
        with _making:
            return _trackers.setdefault((home.absolute(), store), MemoryTracker())

    def open(self, run: RunInfo) -> MemorySession:
        """Find the run, or make it."""
        self.tracker.ask(Call("open", run))
        found = self.tracker.runs.setdefault(run.run_id, MemoryRun(run))
        return MemorySession(self.tracker, run, found)

    def look(self, run: RunInfo) -> MemorySession | None:
        """Find the run."""
        self.tracker.ask(Call("look", run))
        found = self.tracker.runs.get(run.run_id)
        return MemorySession(self.tracker, run, found) if found else None

    def close(self) -> None:
        """Do nothing: what arrived stays."""


class MemorySession:
    """The connection to one run."""

    def __init__(self, tracker: MemoryTracker, run: RunInfo, found: MemoryRun) -> None:
        self._tracker = tracker
        self._run = run
        self._found = found

    def send(self, batch: Sequence[Observation]) -> None:
        """Keep the observations, each at its position."""
        self._tracker.ask(Call("send", self._run, batch))
        self._found.received += len(batch)
        for seen in batch:
            self._found.observations[seen.position] = seen

    def settle(self, run: RunInfo) -> None:
        """Keep what the run log says of the run."""
        self._tracker.ask(Call("settle", run))
        self._run = self._found.settled = run
        self._found.settlements += 1

    def expected(self, batch: Sequence[Observation]) -> Iterator[Point]:
        """Say what these observations are here: each is kept as it is."""
        for seen in batch:
            name = "/".join((*seen.task, seen.key))
            value = to_json({"value": seen.value, "attempt": seen.attempt})
            yield Point("metric", name, seen.step, seen.ts, value.decode())

    def expected_state(self, run: RunInfo) -> Iterator[Point]:
        """Say what the run is here."""
        for name, value in run.parameters.items():
            yield Point("parameter", name, value=to_json({"value": value}).decode())
        for name in ("status", "killed", "message", "end_ts"):
            yield Point("run", name, value=repr(getattr(run, name)))

    def held(self) -> Iterable[Point]:
        """Return what arrived."""
        self._tracker.ask(Call("held", self._run))
        yield from self.expected(list(self._found.observations.values()))
        yield from self.expected_state(self._found.settled)

    def close(self) -> None:
        """Do nothing: a session holds no resources."""
