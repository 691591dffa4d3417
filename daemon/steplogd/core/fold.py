"""The fold: events in, the state of a run and new observations out; each costs the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.events import (
    MAX_TIMESTAMP,
    Catalog,
    Code,
    End,
    Event,
    Join,
    Leave,
    Lost,
    Malformed,
    Open,
    Start,
    Track,
    Unknown,
    task_path,
)
from steplog.values import to_column
from steplogd.core.membership import NAME_BYTES, Membership
from steplogd.core.state import MOST, MOST_SET_ASIDE, Changes, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steplog.decoding import AnyEvent
    from steplogd.core.state import RunState


_OF_ALL: Final = frozenset((*Event.__struct_fields__, "task"))
"""What is of the line, and of where it goes, not of what it says."""


class _Target(msgspec.Struct):
    """Where a writer's observations of a task go, for as long as nobody comes or goes."""

    writer: Writer | None
    task_no: int
    attempt: int
    series: dict[str, int]


class Fold:
    """Folds the events of one run into its state.

    The same events give the same state and observations, however they are cut into calls. An event
    of a writer whose number came before is dropped: the writer had repeated a line that stood in
    the spool already. Not to be used after a call has raised.

    Args:
        state: The run as it was folded so far; changed in place.
    """

    def __init__(self, state: RunState) -> None:
        self.state = state
        self._changes = Changes()
        self._membership = Membership(state, self._changes)
        self._targets: dict[tuple[str, str | tuple[str, ...]], _Target] = {}

    @property
    def weight(self) -> int:
        """About how many bytes the run takes in memory: its tasks, keys, writers, parameters."""
        return self._membership.weight

    def apply(self, events: Iterable[AnyEvent], arrived_ts: int) -> None:
        """Fold events, in the order of the spool.

        Args:
            events: What `decode` returned.
            arrived_ts: When they arrived, in microseconds since the epoch, for lines that do not
                say when they were written.
        """
        arrived_ts = min(max(arrived_ts, 1), MAX_TIMESTAMP)  # a file may be given any time
        state, targets = self.state, self._targets
        position, add_row = state.position, self._changes.observations.append
        for event in events:
            if event.__class__ is not Track:
                self._apply_rare(event, arrived_ts)
                continue
            target = targets.get((event.w, event.task))
            writer = target.writer if target else self._find_writer(event.w)
            if writer is not None:
                if event.n == writer.next_n:
                    writer.next_n += 1
                elif not self._is_new(writer, event.n):
                    continue
            if target is None:
                target = self._find_target(event, writer, arrived_ts)
            ts = state.last_ts = event.ts or arrived_ts
            step, series = event.step, target.series
            for key, value in event.values.items():
                series_no = series.get(key)
                if series_no is None:
                    series_no = self._add_series(target, key)
                position += 1
                # Floats, most of all values, are their own column.
                is_column = value.__class__ is float and value == value
                column = value if is_column else to_column(value)
                add_row((position, series_no, step, ts, column))
        state.position = position

    def end_run(self) -> None:
        """End the run: nobody has been in it for the grace period."""
        self._membership.end_run()
        self._targets.clear()

    def take_changes(self) -> Changes:
        """Return what changed since the last call, to be committed as one."""
        changes = self._changes
        self._changes = self._membership.changes = Changes()
        self._targets.clear()  # a target that is looked up again marks its writer as changed again
        return changes

    def _find_writer(self, w: str) -> Writer | None:
        return self._membership.writer(w) if w else None

    def _find_target(self, event: Track, writer: Writer | None, arrived_ts: int) -> _Target:
        ts = event.ts or arrived_ts
        self._begin(ts)
        task = self._membership.task(task_path(event.task))
        if writer is not None:
            member = self._membership.be_heard(writer.w)
            if member.presence == "in" and task.no not in member.inside:
                self._membership.enter(member, task, ts, {})
                self._targets.clear()  # visitors of the task are in this attempt from now on
        attempt = task.attempt.number if task.attempt else 0
        series = self.state.series.setdefault((task.no, attempt), {})
        target = _Target(writer, task.no, attempt, series)
        self._targets[event.w, event.task] = target
        return target

    def _add_series(self, target: _Target, key: str) -> int:
        series_no = target.series[key] = self.state.series_count
        self.state.series_count += 1
        self._membership.weight += NAME_BYTES + len(key)
        self._changes.series.append((series_no, target.task_no, target.attempt, key))
        return series_no

    def _is_new(self, writer: Writer, n: int) -> bool:
        """Count the gap before a number; tell whether it had not come before."""
        state = self.state
        if n < 0:
            return True
        if n < writer.next_n:
            state.repeated += 1
            return False
        if n > writer.next_n:
            state.gaps = min(state.gaps + n - writer.next_n, MOST)
            self._changes.gaps.append((writer.w, writer.next_n, n - 1))
        writer.next_n = n + 1
        return True

    def _begin(self, ts: int) -> None:
        if not self.state.start_ts:
            self.state.start_ts = ts
            self.state.revision += 1

    def _apply_rare(self, event: AnyEvent, arrived_ts: int) -> None:
        if isinstance(event, Malformed):
            self.state.malformed += 1
            if self.state.malformed <= MOST_SET_ASIDE or not event.line:
                self._changes.set_aside.append(event)
            return
        ts = event.ts or arrived_ts
        self._begin(ts)
        writer = self._find_writer(event.w)
        if writer is not None and not self._is_new(writer, event.n):
            return
        self.state.last_ts = ts
        self._targets.clear()
        self._dispatch(event, ts)

    def _dispatch(self, event: AnyEvent, ts: int) -> None:
        membership = self._membership
        match event:
            case Open():
                membership.open(event.w, event.of, event.worker)
            case Join():
                membership.join(event.w, event.tag, event.parameters, event.config)
            case Leave():
                membership.leave(event.w, ts, event.status, event.message)
            case Start():
                self._start(event, ts)
            case End():
                task = membership.task(task_path(event.task))
                member = membership.be_heard(event.w)
                membership.exit(member, task, ts, event.status, event.message)
            case Lost():
                self.state.lost = min(self.state.lost + event.count, MOST)
            case Code():
                self._changes.codes.append((self._task_no(event.task), _content(event)))
            case Catalog():
                self._changes.catalog.append((self._task_no(event.task), _content(event)))
            case Unknown():
                self.state.unknown += 1

    def _start(self, event: Start, ts: int) -> None:
        task = self._membership.task(task_path(event.task))
        if event.step_type:
            self._membership.set_step_type(task, event.step_type)
        member = self._membership.be_heard(event.w)
        if event.mock:
            self._membership.skip(task)
        else:
            self._membership.enter(member, task, ts, event.parameters)

    def _task_no(self, task: str | tuple[str, ...]) -> int:
        return self._membership.task(task_path(task)).no if task else -1


def _content(event: Code | Catalog) -> dict[str, Any]:
    """Return what an event says beside writer, number, time and task."""
    names = event.__struct_fields__
    return {name: getattr(event, name) for name in names if name not in _OF_ALL}
