"""A run in this process: started or joined, current for what is tracked, and left with a status."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from steplog import environment, exits, losses, place, what_runs
from steplog.errors import InvalidName, TrackingError
from steplog.events import DEFAULT_TASK, Code
from steplog.home import default_home
from steplog.interrupts import comes_from_signal_handler
from steplog.names import check_run_id
from steplog.spool import open_chosen_spool, open_new_spool
from steplog.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType

    from steplog.task import TaskContext

RUN_ID_VARIABLES: Final = ("STEPLOG_RUN_ID", "RUNNABLE_RUN_ID", "runnable_RUN_ID")
"""The environment names the run of a process, the first of these that is set."""

TAG_VARIABLES: Final = ("STEPLOG_TAG", "RUNNABLE_RUN_TAG")
"""The environment names the tag of a run, the first of these that is set."""

_MAX_TAG_CHARACTERS: Final = 4000

_open_runs: list[Run] = []
_environment: str | None = None  # what STEPLOG_RUN_ID was before the first of the open runs
_watch: exits.ExitWatch | None = None
_lock = threading.RLock()
"""Held by whoever changes these, never while waiting for a pen; a forked child gets its own."""


class Run:
    """A run that this process is in, from `start_run` until `end` or the end of the process.

    As a context manager it ends with the block: SUCCESS, or FAIL when an exception leaves it. Safe
    to use from any thread; a forked child is in the run by itself, and leaves it by itself.

    Attributes:
        run_id: The name of the run, and of its spool.
        tag: What groups it with others; "" without one.
        asked_id: The id that was asked for, which was another user's run if it is not `run_id`.
    """

    def __init__(self, writer: Writer, tag: str, asked_id: str | None = None) -> None:
        self.run_id = writer.run_id
        self.asked_id = asked_id or writer.run_id
        self.tag = tag
        self.writer = writer
        self.outermost = _outermost_place(self)
        self._token: Token[place.Place | None] | None = None

    def track(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Track values into this run, in its current task; see `steplog.track`."""
        place.track(place_in(self), values, step)

    def track_this(self, step: int = 0, **values: Any) -> None:
        """Track values into this run, in its current task; see `steplog.track_this`."""
        at = place_in(self)
        self.writer.track(at.task, step, values)

    def task(self, name: str, parameters: Mapping[str, Any] | None = None) -> TaskContext:
        """Return a task of this run; see `steplog.task`."""
        from steplog.task import TaskContext

        return TaskContext(name, parameters, self)

    def end(self, status: str = "SUCCESS", message: str = "") -> None:
        """Leave the run. It ends for all when nobody is in it any more.

        Args:
            status: SUCCESS or FAIL.
            message: Why it failed, in one sentence.

        Raises:
            ValueError: The status is neither.
            TrackingError: Only when asked for: that it was left was not recorded; it is left.
        """
        if status not in ("SUCCESS", "FAIL"):
            raise ValueError(f"A run ends as SUCCESS or FAIL, not as {status!r}.")
        with _lock:
            if self not in _open_runs:
                return
            _open_runs.remove(self)
            if self._token is not None:
                place.leave(self.outermost, self._token)
            _tell_children(_open_runs[-1].run_id if _open_runs else _environment)
        self.writer.leave(status, str(message))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(*exits.outcome_of(error))

    def __repr__(self) -> str:
        return f"<steplog run {self.run_id}>"


def start_run(
    run_id: str | None = None, tag: str = "", parameters: Mapping[str, Any] | None = None
) -> Run:
    """Start a run, or join the one of that id, and make it current for this process.

    Processes that this one starts find it by the environment variable `STEPLOG_RUN_ID`. On return
    the spool says that this process is in the run, and with what it was started: no kill loses
    that, a power cut may. Where it cannot be written now, that comes before the first event that
    can.

    Args:
        run_id: 1 to 128 of `[A-Za-z0-9._-]`; without one, what the environment names
            (`STEPLOG_RUN_ID`, `RUNNABLE_RUN_ID`, `runnable_RUN_ID`), else one is made up.
        tag: Groups runs; without one, `STEPLOG_TAG`, else `RUNNABLE_RUN_TAG`.
        parameters: What the run was started with, any values that can be tracked.

    Returns:
        The run, to be ended by a `with` block, by `end()`, or by the end of the process.

    Raises:
        InvalidName: The run id that was passed is none. (One that the environment names is warned
            of, and another is made up.)
        TrackingError: Only when asked for: something was not recorded, or the run is another
            user's; nothing is current then.
    """
    started_with = {} if parameters is None else parameters
    return join_run(run_id, tag, started_with, what_runs.of_program())


def join_run(
    run_id: str | None, tag: str, parameters: Mapping[str, Any], config: dict[str, Any]
) -> Run:
    """Start or join a run as `start_run` does, and say of what runs in it what `config` says."""
    watch = _watch_exit()
    asked_id = run_id or _run_id_from_environment()
    tag = _checked_tag(tag or _tag_from_environment())
    writer = _new_writer(_find_home(), asked_id)
    run = Run(writer, tag, asked_id)
    try:
        writer.join(run.tag, parameters, config)
        _append_code(writer)
    except BaseException:
        writer.close()
        raise
    _enter(run)
    if watch.outcome is not None:  # the process is ending, and nobody will tell us again
        writer.leave(*watch.outcome)
    return run


def _append_code(writer: Writer) -> None:
    """Say which commit this process runs, when it runs from a repository."""
    try:
        from steplog.git import identity  # which a process without a run does not need
    except Exception as error:  # no descriptor is left, or the interpreter shuts down
        if comes_from_signal_handler(error):
            raise
        return
    code = identity()
    if code is not None:
        writer.append(Code, **code)


def _enter(run: Run) -> None:
    """Make a run current for this process, and for those that it starts."""
    global _environment
    with _lock:
        if not _open_runs:
            _environment = os.environ.get("STEPLOG_RUN_ID")
        _open_runs.append(run)
        _tell_children(run.run_id)
        run._token = place.enter(run.outermost)


def current_place() -> place.Place:
    """Return where a call tracks to; starts a run when there is none."""
    at = place.here.get() or _place_of_others()
    if at is not None:
        return at
    with _lock:  # or each of several threads would start one
        return _place_of_others() or start_run().outermost


def _place_of_others() -> place.Place | None:
    """Return where a thread or coroutine is that entered nothing by itself; None without a run."""
    at = place.innermost()
    run_id = at and at.run.outermost.other_run_id()
    if not run_id:
        return at
    return next((run.outermost for run in _open_runs if run_id in (run.run_id, run.asked_id)), None)


def place_in(run: Run) -> place.Place:
    """Return where a call tracks to within a run, which need not be the current one."""
    at = place.here.get()
    return at if at is not None and at.run is run else place.innermost(run) or run.outermost


def get_run_id() -> str:
    """Return the id of the run that this call would track to; starts one when there is none.

    Raises:
        TrackingError: Only when asked for: what starts it was not recorded; see `start_run`.
    """
    return current_place().run.run_id


def _outermost_place(run: Run) -> place.Place:
    """Return where calls of this run track to that are in no task which the process entered."""
    path = environment.named_task() or (DEFAULT_TASK,)
    pipeline = sys.modules.get("runnable.context")
    if pipeline is None:
        return place.Place(run, path)
    from steplog.pipeline import StepPlace

    return StepPlace(run, path, pipeline)


def _watch_exit() -> exits.ExitWatch:
    """Watch how this process ends, also if it is a worker that was started since the last call."""
    global _watch
    with _lock:
        if _watch is None:
            _watch = exits.ExitWatch(_leave_all)
            os.register_at_fork(after_in_child=_renew_lock)
    _watch.watch_worker()
    return _watch


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()  # a thread that is not in this child may have held the other


def _leave_all(outcome: exits.Outcome) -> None:
    """Leave all runs at the end of the process; what is tracked after that still goes to them."""
    for run in reversed(_open_runs):
        with contextlib.suppress(TrackingError):  # there is nobody left to raise it to
            run.writer.leave(*outcome)
    _open_runs.clear()


def _on_spool_open() -> None:
    if _watch is not None:
        _watch.watch_worker()


def _new_writer(home: Path, run_id: str | None) -> Writer:
    own_id, fd = open_new_spool(home) if run_id is None else open_chosen_spool(home, run_id)
    writer = Writer(home, own_id, _on_spool_open, fd)
    if run_id not in (None, own_id):
        try:
            losses.report_stand_in(str(run_id), own_id)
        except TrackingError:
            writer.close()
            raise
    return writer


def _run_id_from_environment() -> str | None:
    """Return the run that somebody else named, not what this process told its children."""
    environment: dict[str, str | None] = dict(os.environ)
    if environment.get("STEPLOG_RUN_ID") in [run.run_id for run in _open_runs]:
        environment["STEPLOG_RUN_ID"] = _environment
    if pipeline := sys.modules.get("runnable.context"):  # which has one variable for all pipelines
        from steplog.pipeline_context import run_id_in

        environment["RUNNABLE_RUN_ID"] = run_id_in(pipeline) or environment.get("RUNNABLE_RUN_ID")
    named = next((run_id for name in RUN_ID_VARIABLES if (run_id := environment.get(name))), None)
    try:
        return named and check_run_id(named)
    except InvalidName as error:
        losses.report(error, "a new run")
        return None


def _tag_from_environment() -> str:
    return next((tag for name in TAG_VARIABLES if (tag := os.environ.get(name))), "")


def _tell_children(run_id: str | None) -> None:
    if run_id is None:
        os.environ.pop("STEPLOG_RUN_ID", None)
    else:
        os.environ["STEPLOG_RUN_ID"] = run_id


def _find_home() -> Path:
    try:
        return default_home()
    except (RuntimeError, OSError) as error:  # no HOME and no such user, or no working directory
        losses.report(error, "a new run")
        return Path("/dev/null")  # where nothing can be made, so that every event will say so


def _checked_tag(tag: object) -> str:
    text = str(tag)
    if len(text) > _MAX_TAG_CHARACTERS:
        error = ValueError(f"the tag is cut to {_MAX_TAG_CHARACTERS:,} of {len(text):,} characters")
        losses.report(error, "a new run")
    return text[:_MAX_TAG_CHARACTERS]
