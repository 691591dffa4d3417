"""A run log of the original in, the lines of a spool out. Pure.

FORMAT.md says what of a run log cannot come back as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, structs

from steplog.encoding import check_size, encode_line, prepare_fields
from steplog.events import (
    MAX_LINE_BYTES,
    Catalog,
    Code,
    End,
    Join,
    KnownEvent,
    Leave,
    Open,
    Start,
    Track,
)
from steplog.importing.metrics import observations
from steplog.importing.moments import all_moments, moment, with_nested
from steplog.importing.shape import Attempt, RunLogMalformed, plain
from steplog.times import show_time
from steplog.values import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steplog.events import TaskField
    from steplog.importing.shape import CodeIdentity, RunLog, Step, Work

JOB: Final = "job"
"""The task that a job becomes, which the original runs without a pipeline."""

_ENDED: Final = ("SUCCESS", "FAIL")
_OF_THE_RUN: Final = ("dag_hash", "use_cached", "original_run_id")

_ENVELOPE_BYTES: Final = 128
"""What writer, number and time take in a line, with room to spare."""

Said = tuple[type[KnownEvent], int, dict[str, Any]]
"""An event before it is numbered: its kind, its time, what it says."""

Path = tuple[str, ...]


def spool_lines(run: RunLog, w: str, otherwise_ts: int) -> Iterator[bytes]:
    """Return the lines of one writer that fold to the run.

    A run that has not ended leaves its writer in it: as nobody holds the spool's lock, it is folded
    as one that was killed.

    Args:
        run: The run.
        w: The writer's id.
        otherwise_ts: When the run was, in case it does not say.

    Raises:
        RunLogMalformed: A time is none, or something does not fit into a line.
    """
    for n, (kind, ts, fields) in enumerate(_Account(run, otherwise_ts).events()):
        try:
            prepare_fields(fields)
            line = check_size(encode_line(kind(w, n, ts, **fields)))
        except (TypeError, ValueError) as error:
            what = fields.get("task", "the run")
            raise RunLogMalformed(f"{kind.__name__.lower()} of {what!r:.80}: {error}") from error
        yield line


class _Account:
    """Tells a run's events in the order of its document."""

    def __init__(self, run: RunLog, otherwise_ts: int) -> None:
        self._run = run
        steps = with_nested(run.steps.values())
        known = list(all_moments([*steps, *([run.job] if run.job else [])])) or [otherwise_ts]
        self._start_ts, self._end_ts = min(known), max(known)
        self._latest_ts = self._start_ts
        self._has_ended = run.status in _ENDED

    def events(self) -> Iterator[Said]:
        run = self._run
        yield Open, self._start_ts, {}
        yield from self._joins()
        for step in run.steps.values():
            yield from self._step((step.internal_name,), step)
        if run.job:
            yield from self._work(JOB, run.job, JOB, run.job.attempts)
        if self._has_ended:
            yield Leave, self._end_ts, {"status": run.status}

    def _joins(self) -> Iterator[Said]:
        """Say what the run was started with, in one line if it fits into one."""
        run = self._run
        told = {name: getattr(run, name) for name in _OF_THE_RUN}
        config = run.run_config | {name: one for name, one in told.items() if one is not UNSET}
        maps = {"parameters": plain(run.parameters), "config": config}
        whole: dict[str, Any] = {"tag": run.tag or "", **maps}
        if _fits(whole):
            yield Join, self._start_ts, whole
            return
        yield Join, self._start_ts, {"tag": run.tag or ""}
        for name, content in maps.items():
            for key, value in content.items():
                yield Join, self._start_ts, {name: {key: value}}

    def _step(self, path: Path, step: Step) -> Iterator[Said]:
        attempts: Sequence[Attempt] = step.attempts
        if not attempts and not step.mock:
            attempts = [self._implied(step)]
        if not all(path):
            raise RunLogMalformed("a step has no name")
        if len(path) > MAX_DEPTH:
            raise RunLogMalformed("steps are nested too deeply")
        yield from self._work(path if len(path) > 1 else path[0], step, step.step_type, attempts)
        for branch in step.branches.values():
            label = _beyond(step.internal_name, branch.internal_name)
            for inner in branch.steps.values():
                name = _beyond(branch.internal_name, inner.internal_name)
                yield from self._step((*path, label, name), inner)

    def _implied(self, step: Step) -> Attempt:
        """Return the attempt that the document does not list: the time of what is nested in it."""
        known = list(all_moments(with_nested([step]))) or [self._latest_ts]
        start, end = show_time(min(known)), show_time(max(known))
        return Attempt(start, end, step.status, step.message)

    def _work(
        self, task: TaskField, work: Work, step_type: str, attempts: Sequence[Attempt]
    ) -> Iterator[Said]:
        codes = [*work.code_identities, *(c for one in attempts for c in one.code_identities)]
        for code in codes:
            yield Code, self._latest_ts, {"task": task, **_code(code)}
        if work.mock:
            yield Start, self._latest_ts, {"task": task, "step_type": step_type, "mock": True}
        for number, attempt in enumerate(attempts, 1):
            last = work if number == len(attempts) else None
            yield from self._attempt(task, attempt, step_type, last)
        for entry in work.data_catalog:
            yield Catalog, self._latest_ts, {"task": task, **structs.asdict(entry)}

    def _attempt(
        self, task: TaskField, attempt: Attempt, step_type: str, last_of: Work | None
    ) -> Iterator[Said]:
        start_ts, end_ts = self._times(attempt)
        parameters = attempt.parameters or plain(attempt.input_parameters)
        fields = {"task": task, "parameters": parameters, "step_type": step_type}
        yield Start, start_ts, fields
        tracked = [(key, 0, value) for key, value in plain(attempt.user_defined_metrics).items()]
        if last_of is not None:  # older versions keep them with the step, and those of the last one
            tracked += observations(last_of.user_defined_metrics)
        for key, step, value in tracked:
            yield Track, end_ts, {"task": task, "step": step, "values": {key: value}}
        yield from self._end(task, attempt, end_ts, last_of)

    def _end(
        self, task: TaskField, attempt: Attempt, end_ts: int, last_of: Work | None
    ) -> Iterator[Said]:
        """End an attempt, but for one that was under way when the run was killed."""
        self._latest_ts = end_ts
        status, message = attempt.status, attempt.message or ""
        if status not in _ENDED:
            if last_of is not None and not self._has_ended:
                return
            status, message = "FAIL", message or f"it never ended: {status}"
        elif last_of is not None and last_of.status == "FAIL" != status:
            status, message = "FAIL", last_of.message or ""
        yield End, end_ts, {"task": task, "status": status, "message": message}

    def _times(self, attempt: Attempt) -> tuple[int, int]:
        """Return when an attempt began and ended: where it does not say, when it is heard of."""
        start_ts = moment(attempt.start_time)
        start_ts = self._latest_ts if start_ts is None else start_ts
        end_ts = moment(attempt.end_time)
        return start_ts, start_ts if end_ts is None else end_ts


def _fits(fields: dict[str, Any]) -> bool:
    prepared = dict(fields)
    try:
        prepare_fields(prepared)
    except (TypeError, ValueError):  # said again, and better, of the one key that is to blame
        return False
    return len(encode_line(Join(**prepared))) <= MAX_LINE_BYTES - _ENVELOPE_BYTES


def _code(code: CodeIdentity) -> dict[str, Any]:
    """Return the fields of a code identity; what is null is said to be empty."""
    defaults = zip(code.__struct_fields__, code.__struct_defaults__, strict=True)
    told = {name: (getattr(code, name), default) for name, default in defaults}
    return {name: default if value is None else value for name, (value, default) in told.items()}


def _beyond(owner: str, name: str) -> str:
    """Return a name without its owner's in front."""
    return name.removeprefix(f"{owner}.")
