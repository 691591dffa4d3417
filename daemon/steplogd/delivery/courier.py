"""The courier: takes one run's next batch to one backend, and moves the cursor when it arrived."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from structlog.contextvars import bound_contextvars

from steplogd.delivery.already_there import AlreadyThere
from steplogd.delivery.contract import (
    Observation,
    ReachableSession,
    ReadableSession,
    Refused,
    RunInfo,
    Unavailable,
)
from steplogd.delivery.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steplogd.delivery.contract import Backend, Session
    from steplogd.delivery.ledger import Ledger, PendingRun

LEAST_BATCH: Final = 25
"""However often a run has failed, its next batch has so many observations, if there are."""

_log = structlog.get_logger()


class Unnoted(Exception):
    """What a backend took cannot be noted in the store now; it is noted later, not sent again."""


class Unread(Exception):
    """What a backend is owed cannot be read in the store now; nobody asked the backend."""


class _Parcel(NamedTuple):
    """Whose observations are sent, and how they are acknowledged."""

    session: Session
    run_no: int
    run_id: str
    replay: int
    is_retry: bool


class Courier:
    """Delivers runs to one backend; a run is taken on by one thread at a time.

    Attributes:
        name: The backend's name, which its cursors go by.
        counts: What it was given.

    Args:
        name: The same.
        backend: The backend.
        ledger: The store.
    """

    def __init__(self, name: str, backend: Backend, ledger: Ledger) -> None:
        self.name = name
        self.counts = Counts()
        self._backend = backend
        self._ledger = ledger
        self._sessions: dict[int, Session] = {}
        self._replays: dict[int, int] = {}
        self._already: dict[int, AlreadyThere | None] = {}  # None: it cannot be read
        self._busy: set[int] = set()
        self._unnoted: dict[int, Callable[[], None]] = {}
        self._most: dict[int, int] = {}  # observations in a run's next batch, after failures
        self._is_closed = False

    def advance(self, run_no: int) -> bool:
        """Deliver the next batch of a run, or else its state; return whether there may be more.

        Raises:
            Unnoted: The store cannot be written now, by a full disk say.
            Unread: It cannot be read.
            Exception: What the backend raised; nothing after the last acknowledgement is lost.
        """
        self._busy.add(run_no)
        try:
            if note := self._unnoted.pop(run_no, None):
                self._note(run_no, note)
            with bound_contextvars(backend=self.name):  # also for what the backend itself logs
                return self._advance(run_no)
        except SystemExit as error:  # some trackers' packages exit; that is not theirs to decide
            raise RuntimeError(f"the backend tried to exit: {error.code}") from error
        finally:
            self._busy.discard(run_no)

    def forget(self, run_no: int) -> None:
        """Close a run's session, after a failure say; it is opened again when needed."""
        session = self._sessions.pop(run_no, None)
        self._already.pop(run_no, None)
        self._replays.pop(run_no, None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Close the backend and its sessions, but for those whose call has not returned.

        When that returns, nothing more is sent: another courier may be at the same run by then.
        """
        self._is_closed = True
        for run_no in self._sessions.keys() - self._busy:
            self.forget(run_no)
        self._backend.close()

    def _advance(self, run_no: int) -> bool:
        limits = self._backend.limits
        most = self._most.get(run_no, limits.observations)
        with _reading():
            pending = self._ledger.pending(self.name, run_no, most, limits.size_bytes)
        if not pending.rows and not pending.due and pending.is_settled:
            self._let_go(run_no, pending.run)
            return False
        try:
            session = self._session(run_no, pending)
            # Values of a run that goes on may come for ever: first its tag and parameters.
            is_state_due = not pending.is_settled and pending.run["status"] == "PROCESSING"
            rows = pending.due or pending.rows
            if rows and not is_state_due:
                run_id, is_retry = pending.run["run_id"], bool(pending.due)
                parcel = _Parcel(session, run_no, run_id, pending.replay, is_retry)
                batch = [Observation(*row) for row in rows]
                if pending.is_doubtful and not parcel.is_retry:
                    self._deliver_missing(parcel, batch, pending.after)
                else:
                    self._deliver(parcel, batch)
            else:
                self._settle(session, run_no, pending)
        except (Unnoted, Unread):
            self._already.pop(run_no, None)  # it has met what is asked for once more
            raise
        except BaseException:
            self.forget(run_no)  # whatever broke it, the next attempt starts afresh
            # A tracker that is slow may take longer for a full batch than anybody waits, and would
            # never get on. What is sent again in smaller batches is no more to it.
            self._most[run_no] = max(most // 2, min(LEAST_BATCH, most))
            raise
        if most < limits.observations:
            self._most[run_no] = min(most * 2, limits.observations)
        else:
            self._most.pop(run_no, None)
        return True

    def _session(self, run_no: int, pending: PendingRun) -> Session:
        # Who asks for a replay may have emptied the tracker: the session may know what is gone.
        if self._replays.get(run_no) != pending.replay:
            self.forget(run_no)
        session = self._sessions.get(run_no)
        if session is None:
            self._refuse_when_closed()
            session = self._backend.open(info_of(pending.run))
            self._sessions[run_no] = session
            self._replays[run_no] = pending.replay
            if isinstance(session, ReachableSession):
                note, address = self._ledger.note_counterpart, dict(session.counterpart)
                self._note(run_no, partial(note, self.name, run_no, address))
        return session

    def _deliver_missing(self, parcel: _Parcel, batch: list[Observation], after: int) -> None:
        """Send what of a batch the tracker does not hold, if it can be asked; acknowledge all."""
        already = self._already_there(parcel, after)
        missing = batch if already is None else already.missing(batch)
        if missing:
            self._deliver(parcel, missing)
        if missing[-1:] != batch[-1:]:
            self._acknowledge(parcel, [batch[-1].position])

    def _already_there(self, parcel: _Parcel, after: int) -> AlreadyThere | None:
        """Ask the tracker, once in a session, what it holds; None if it cannot be read back."""
        run_no, session = parcel.run_no, parcel.session
        if run_no not in self._already:
            self._already[run_no] = None
            if isinstance(session, ReadableSession):
                before = self._observations(run_no, after)
                with contextlib.suppress(Refused):
                    self._already[run_no] = AlreadyThere(session, before)
        return self._already[run_no]

    def _observations(self, run_no: int, last: int) -> Iterator[Observation]:
        with _reading():
            for row in self._ledger.observations(run_no, last):
                yield Observation(*row)

    def _deliver(self, parcel: _Parcel, batch: list[Observation]) -> None:
        """Send a batch; one that is refused is halved, down to the culprits."""
        self._refuse_when_closed()
        try:
            parcel.session.send(batch)
        except Refused as refusal:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._deliver(parcel, batch[:middle])
                self._deliver(parcel, batch[middle:])
                return
            self._set_aside(parcel, batch[0], str(refusal) or "refused")
        else:
            self.counts.add(sent=len(batch))
            self._acknowledge(parcel, [seen.position for seen in batch])

    def _acknowledge(self, parcel: _Parcel, positions: list[int], refusal: str = "") -> None:
        _, run_no, _, replay, is_retry = parcel
        name, ledger = self.name, self._ledger
        if is_retry:
            retried = ledger.retried
            self._note(run_no, partial(retried, name, run_no, positions, refusal, replay=replay))
            return
        dead = dict.fromkeys(positions, refusal) if refusal else None
        acknowledge = ledger.acknowledge
        self._note(run_no, partial(acknowledge, name, run_no, positions[-1], dead, replay=replay))

    def _set_aside(self, parcel: _Parcel, observation: Observation, reason: str) -> None:
        self.counts.add(refused=1)
        self._acknowledge(parcel, [observation.position], reason)
        _log.warning(
            "dead letter",
            backend=self.name,
            run=parcel.run_id,
            key=observation.key,
            step=observation.step,
            reason=reason,
        )

    def _settle(self, session: Session, run_no: int, pending: PendingRun) -> None:
        self._refuse_when_closed()
        run, reason = pending.run, ""
        try:
            session.settle(info_of(run))
        except Refused as refusal:
            reason = str(refusal) or "refused"
            self.counts.add(refused=1)
            _log.warning("run refused", backend=self.name, run=run["run_id"], reason=reason)
        settle, revision = self._ledger.settle, run["revision"]
        self._note(
            run_no, partial(settle, self.name, run_no, revision, reason, replay=pending.replay)
        )

    def _note(self, run_no: int, note: Callable[[], None]) -> None:
        """Note what arrived; where that fails, keep it, as nothing more may be sent before it."""
        try:
            note()
        except Exception as error:
            self._unnoted[run_no] = note
            raise Unnoted(str(error)) from error

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise Unavailable("the backend was closed meanwhile")

    def _let_go(self, run_no: int, run: dict[str, Any]) -> None:
        self._most.pop(run_no, None)
        if run["status"] != "PROCESSING":
            self.forget(run_no)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Tell the store's failure from the backend's."""
    try:
        yield
    except Exception as error:
        raise Unread(str(error)) from error


def info_of(run: dict[str, Any]) -> RunInfo:
    """Return what a backend is told of a run, from its row in the store."""
    return RunInfo(
        run_id=run["run_id"],
        tag=run["tag"],
        status=run["status"],
        killed=bool(run["killed"]),
        message=run["message"],
        start_ts=run["start_ts"],
        end_ts=run["end_ts"],
        parameters=run["parameters"],
    )
