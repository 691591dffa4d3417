"""Reads backends back, and says where they differ from the run log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from steplogd.core.comparison import Comparison
from steplogd.delivery.contract import (
    Backend,
    Observation,
    Point,
    ReadableBackend,
    ReadableSession,
    Refused,
    Unavailable,
)
from steplogd.delivery.courier import info_of
from steplogd.store.database import StoreError
from steplogd.verdict import Difference, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from steplogd.core.comparison import Mismatch
    from steplogd.delivery.contract import RunInfo
    from steplogd.store.standings import Standing, Standings

T = TypeVar("T")

_ATTEMPTS: Final = 3
_SAID_EVERY: Final = 1000


class Verifier:
    """Compares one backend with the run log; a daemon may deliver to it meanwhile.

    All that the backend has acknowledged must be there when it is read. What it has been sent since
    may be there. Memory holds the points of one run at a time.

    Args:
        name: The backend's name.
        backend: A connection of its own.
        standings: The store.
        on_progress: Called with how many points more were read.
    """

    def __init__(
        self, name: str, backend: Backend, standings: Standings, on_progress: Callable[[int], None]
    ) -> None:
        self._name = name
        self._backend = backend
        self._standings = standings
        self._on_progress = on_progress

    def verify(self, runs: Iterable[int]) -> Verdict:
        """Compare the runs of these numbers; the first one that cannot be reached ends it.

        Raises:
            StoreError: The store cannot be read now.
        """
        verdict = Verdict(self._name)
        for run_no in runs:
            try:
                self._verify_run(verdict, run_no)
            except Unavailable as error:
                verdict.error = str(error)
                break
        return verdict

    def _verify_run(self, verdict: Verdict, run_no: int) -> None:
        standing, found = self._settled_comparison(run_no)
        if found is None or standing.behind or not standing.is_settled:
            verdict.runs_behind += 1
            verdict.observations_behind += standing.behind
        if isinstance(found, Difference):
            verdict.differences.append(found)
        elif found is not None:
            verdict.runs += 1
            verdict.points += found.met
            verdict.differences += [
                self._difference(run_no, standing, mismatch) for mismatch in found.mismatches()
            ]

    def _settled_comparison(
        self, run_no: int
    ) -> tuple[Standing, Comparison[Point] | Difference | None]:
        """Compare while the run's state stays the same; None for a run that never stays so."""
        standing = self._standings.of(self._name, run_no)
        for _ in range(_ATTEMPTS):
            found = self._compare(run_no, standing)
            before, standing = standing, self._standings.of(self._name, run_no)
            # Its end, say, came to the tracker while that was read: all may differ by it.
            if _state_of(before) == _state_of(standing):
                return before, found
        return standing, None

    def _compare(self, run_no: int, standing: Standing) -> Comparison[Point] | Difference | None:
        """Read the run back; None when the backend was told nothing of it yet."""
        if not standing.position and not standing.revision:
            return None
        run = info_of(standing.run)
        try:
            session = _guarded(lambda: self._reach(run))
            if session is None:
                reason = "the tracker has no such run: `steplogd replay` sends it again"
                return self._unreadable(run, reason)
            try:
                return _guarded(lambda: self._read(run_no, standing, session))
            finally:
                session.close()
        except Refused as error:
            return self._unreadable(run, str(error))

    def _reach(self, run: RunInfo) -> ReadableSession | None:
        backend = self._backend
        if isinstance(backend, ReadableBackend):
            return backend.look(run)
        session = backend.open(run)
        if not isinstance(session, ReadableSession):
            session.close()
            raise Unavailable("it cannot be read back: look at it in its own pages")
        return session

    def _read(self, run_no: int, standing: Standing, session: ReadableSession) -> Comparison[Point]:
        comparison: Comparison[Point] = Comparison()
        for row in self._standings.observations(run_no, 0, standing.position):
            comparison.expect(session.expected((Observation(*row),)), row[0])
        run = info_of(standing.run)
        if standing.is_settled:
            comparison.expect(session.expected_state(run))
        said = 0
        for number, point in enumerate(session.held(), 1):
            comparison.hold(point)
            if number % _SAID_EVERY == 0 and number <= standing.position:
                self._on_progress(number - said)
                said = number
        self._on_progress(standing.position - said)
        self._excuse(run_no, standing, session, comparison)
        # Lines that say no time got another one when they were folded again.
        comparison.forgive_times(standing.doubt)
        return comparison

    def _excuse(
        self,
        run_no: int,
        standing: Standing,
        session: ReadableSession,
        comparison: Comparison[Point],
    ) -> None:
        """Take away what a daemon has sent, or may have, without an answer that was noted."""
        now = self._standings.of(self._name, run_no)
        last = int(now.run["position"])
        for row in self._standings.observations(run_no, standing.position, last):
            comparison.excuse(session.expected((Observation(*row),)))
        comparison.excuse(session.expected_state(info_of(now.run)))

    def _difference(self, run_no: int, standing: Standing, mismatch: Mismatch[Point]) -> Difference:
        expected, found = mismatch.expected, mismatch.found
        point = expected or found or Point("run", "")
        row = self._standings.observation(run_no, mismatch.position)
        tracked = Observation(*row) if row else None
        letter = standing.letters.get(mismatch.position) if expected else None
        reason = f"dead letter: {letter}" if letter else _otherwise(expected, found)
        return Difference(
            backend=self._name,
            run_id=standing.run["run_id"],
            kind=point.kind,
            name=point.name,
            task=tracked.task if tracked else (),
            key=tracked.key if tracked else "",
            step=tracked.step if tracked else point.step,
            ts=point.ts,
            expected=expected.value if expected else None,
            found=found.value if found else None,
            reason=reason,
        )

    def _unreadable(self, run: RunInfo, reason: str) -> Difference:
        return Difference(self._name, run.run_id, "run", run.run_id, reason=reason)


def _otherwise(expected: Point | None, found: Point | None) -> str:
    """Say what differs where the values do not."""
    if expected is None or found is None or expected.value != found.value:
        return ""
    return f"its time is {found.ts}, not {expected.ts}"


def _state_of(standing: Standing) -> tuple[int, int, int]:
    return standing.run["revision"], standing.revision, standing.replay


def _guarded(call: Callable[[], T]) -> T:
    """Turn whatever else a third party's code raises into `Unavailable`."""
    try:
        return call()
    except (Refused, Unavailable, StoreError):
        raise
    except Exception as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error
