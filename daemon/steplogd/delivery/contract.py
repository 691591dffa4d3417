"""What a backend must be able to do: the contract for every tracker, ours and third parties'.

A backend is found by its type under the entry point group `steplog.backends`; the entry point names
a class that satisfies `BackendType`:

    [project.entry-points."steplog.backends"]
    mytracker = "my_package:MyBackend"

All methods block, and are called from worker threads, never from the event loop. Calls for one run
never overlap; calls for different runs may, up to `Limits.parallel_runs`. Whatever was sent without
an answer is sent again, after a restart too: every method must be idempotent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

from steplogd.delivery.secrets import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


class RunInfo(msgspec.Struct, frozen=True):
    """What the run log says of a whole run.

    Attributes:
        run_id: Unique among all runs of this home.
        tag: Groups runs; "" without one.
        status: PROCESSING, SUCCESS or FAIL.
        killed: Whether it failed because a process vanished without leaving.
        message: Why it failed, in one sentence; "" otherwise.
        start_ts: Microseconds since the epoch.
        end_ts: Microseconds since the epoch; None while it goes on.
        parameters: What the run was started with.
    """

    run_id: str
    tag: str
    status: str
    killed: bool
    message: str
    start_ts: int
    end_ts: int | None
    parameters: dict[str, Any]


class Observation(msgspec.Struct, frozen=True):
    """One value that a task tracked under a key, at a step.

    Attributes:
        position: Its place in the run log of its run, from 1, without gaps.
        task: The names from the outermost task to the one that tracked it.
        attempt: The task's attempt, from 1; 0 when nobody was in the task.
        key: The name of what was observed.
        step: An int64.
        ts: When it was tracked, in microseconds since the epoch.
        value: None, bool, int of any size, float (NaN and infinities too), str, list or dict.
    """

    position: int
    task: tuple[str, ...]
    attempt: int
    key: str
    step: int
    ts: int
    value: Any


class Point(msgspec.Struct, frozen=True):
    """One thing that a tracker holds of a run, or should hold, in the tracker's own terms.

    Two points are the same when all of their fields are: a backend that rounds times, or maps
    names, does so for what it expects too.

    Attributes:
        kind: `metric`, `parameter`, or `run` for its status and the like.
        name: What the tracker calls it.
        step: Its step; 0 where the tracker knows none.
        ts: When it was tracked, in the tracker's own unit; 0 where it does not keep that.
        value: The value as text.
    """

    kind: Literal["metric", "parameter", "run"]
    name: str
    step: int = 0
    ts: int = 0
    value: str = ""


class Limits(msgspec.Struct, frozen=True):
    """How much a backend takes at once.

    Attributes:
        observations: The most observations in one batch.
        size_bytes: About how large the values of one batch may be together.
        parallel_runs: How many runs may have a batch in flight at the same time.
    """

    observations: int = 1000
    size_bytes: int = 1024 * 1024
    parallel_runs: int = 2


class BackendError(Exception):
    """Root of what a backend may raise on purpose; anything else counts as `Unavailable`.

    Its text goes into the log and the store: credentials in the URLs of it are left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class Unavailable(BackendError):
    """The backend cannot take it now; the same call is made again later, for ever.

    Attributes:
        retry_after_seconds: When the backend asked to be called again, if it did.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Refused(BackendError):
    """The backend will never take this batch; it is halved until the culprit stands alone."""


class Session(Protocol):
    """One run's counterpart in the tracker."""

    def send(self, batch: Sequence[Observation]) -> None:
        """Deliver a batch, in the order of the run log; on return it is durable at the tracker.

        The same observations may come again, in other batches.

        Raises:
            Unavailable: To be called again with the same batch.
            Refused: Some of it will never be taken; taking a part before is fine.
        """

    def settle(self, run: RunInfo) -> None:
        """Bring status, times and parameters up to date.

        Called for a run that goes on before its next observations, and for one that has ended after
        the last of them. It may be settled as PROCESSING after that: somebody joined it again.

        Raises:
            Unavailable: To be called again.
            Refused: Reported, and not tried again until the run changes.
        """

    def close(self) -> None:
        """Let go of this run's resources; the run may be opened again. Never raises."""


@runtime_checkable
class ReachableSession(Session, Protocol):
    """A session whose run a client in a task can reach by itself; optional."""

    @property
    def counterpart(self) -> Mapping[str, str]:
        """What that client needs to reach the run; never a secret.

        It is written into the store, where `steplog.get_experiment_tracker_context` finds it, and
        given to the function that the entry point group `steplog.clients` names for the backend's
        type.
        """


@runtime_checkable
class ReadableSession(Session, Protocol):
    """A session of a tracker that can be read back; optional.

    `steplogd verify` reads it. So does delivery, when the store was lost and is folded again: then
    what the tracker holds is not sent again. One that cannot be read back gets all of it again.
    """

    def expected(self, batch: Sequence[Observation]) -> Iterable[Point]:
        """Say what the tracker should hold once it has a batch; contacts and changes nobody."""

    def expected_state(self, run: RunInfo) -> Iterable[Point]:
        """Say what it should hold of the run itself once that is settled; contacts nobody."""

    def held(self) -> Iterable[Point]:
        """Read back all that it holds of the run, each point once, in any order.

        Raises:
            Unavailable: It cannot be read now.
            Refused: It cannot be read at all, or not completely; the text says why.
        """


@runtime_checkable
class MergingSession(ReadableSession, Protocol):
    """A session of a tracker in which equal points, of one moment too, are one; optional."""

    @property
    def merges_equal_points(self) -> Literal[True]:
        """Says so."""


class Backend(Protocol):
    """A connection to one tracker."""

    limits: Limits

    def open(self, run: RunInfo) -> Session:
        """Find the run's counterpart, or make it: exactly one, whatever was restarted before.

        Raises:
            Unavailable: To be called again.
            Refused: Reported, and tried again after the longest delay.
        """

    def close(self) -> None:
        """Let go of the connection. Never raises."""


@runtime_checkable
class ReadableBackend(Backend, Protocol):
    """A backend that can look for a run without making it; optional.

    `steplogd verify` opens the runs of any other, as delivery does.
    """

    def look(self, run: RunInfo) -> ReadableSession | None:
        """Find the run's counterpart to read it back; None when there is none.

        Raises:
            Unavailable: It cannot be looked for now.
            Refused: It is there, but out of reach; the text says why.
        """


class Remark(msgspec.Struct, frozen=True):
    """One thing that a backend sees when it looks at its tracker.

    Attributes:
        text: What it is, in one sentence without a full stop, such as a version or a user's name.
        mend: What to do, where it is not as it should be but works; "" where it is.
    """

    text: str
    mend: str = ""


@runtime_checkable
class CheckableBackend(Backend, Protocol):
    """A backend that can say whether its tracker could be delivered to; optional.

    `steplogd doctor` asks it, and does not wait for ever.
    """

    def check(self) -> Iterable[Remark]:
        """Look whether the tracker is there and lets us in; changes nothing, there or here.

        Remarks that come before an error are shown too: what is slow comes last.

        Raises:
            Unavailable: It cannot be reached, or does not let us in; the text says why.
            Refused: It is not one that can be delivered to; the text says why.
            PermissionError: A file is not for this user to see, or to write.
        """


class BackendType(Protocol):
    """The class behind an entry point: how a backend is configured and built."""

    Options: type[msgspec.Struct]
    """The keys of its `[[backend]]` table beside `type` and `name`; unknown ones are refused. A
    `__post_init__` may raise ValueError for what makes no sense."""

    package: str
    """The tracker's import package, imported by `__call__` and not before; "" for none."""

    extra: str
    """What `pip install 'steplog[…]'` must name to bring that package; "" for none."""

    def __call__(self, options: Any, home: Path) -> Backend:
        """Build the backend: imports the tracker's package, but contacts nobody.

        Raises:
            ValueError: With these options it never will; after anything else a daemon that starts
                tries again.
        """
