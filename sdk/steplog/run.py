"""A run in this process: started or joined, current for what is tracked, and left with a status."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from steplog import exits, losses, place
from steplog.errors import InvalidName
from steplog.events import DEFAULT_TASK
from steplog.home import default_home, document_path
from steplog.names import check_run_id, propose_run_id
from steplog.spool import open_spool
from steplog.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType

    from steplog.task import TaskContext

RUN_ID_VARIABLES: Final = ("STEPLOG_RUN_ID", "RUNNABLE_RUN_ID", "runnable_RUN_ID")
"""The environment names the run of a process, the first of these that is set."""

_PROPOSALS: Final = 50
_MAX_ARGUMENTS: Final = 100
_MAX_ARGUMENT_CHARACTERS: Final = 1000

_open_runs: list[Run] = []
_watch: exits.ExitWatch | None = None


class Run:
    """A run that this process is in, from `start_run` until `end` or the end of the process.

    As a context manager it ends with the block: SUCCESS, or FAIL when an exception leaves it. Safe
    to use from any thread; a forked child is in the run by itself, and leaves it by itself.

    Attributes:
        run_id: The name of the run, and of its spool.
        tag: What groups it with others; "" without one.
    """

    def __init__(self, writer: Writer, tag: str) -> None:
        self.run_id = writer.run_id
        self.tag = tag
        self.writer = writer
        self.outermost = place.Place(self, (os.environ.get("STEPLOG_TASK") or DEFAULT_TASK,))
        self._token: Token[place.Place | None] | None = None
        self._environment: str | None = None

    def track(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Track values into this run, in its current task; see `steplog.track`."""
        at = _place_in(self)
        self.writer.track(at.task, step, dict(values))

    def track_this(self, step: int = 0, **values: Any) -> None:
        """Track values into this run, in its current task; see `steplog.track_this`."""
        at = _place_in(self)
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
        """
        if status not in ("SUCCESS", "FAIL"):
            raise ValueError(f"A run ends as SUCCESS or FAIL, not as {status!r}.")
        if self not in _open_runs:
            return
        _open_runs.remove(self)
        if self._token is not None:
            place.leave(self.outermost, self._token)
        _restore_environment(self._environment)
        self.writer.leave(status, message)

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

    Processes that this one starts find it by the environment variable `STEPLOG_RUN_ID`.

    Args:
        run_id: 1 to 128 of `[A-Za-z0-9._-]`; without one, what the environment names
            (`STEPLOG_RUN_ID`, `RUNNABLE_RUN_ID`, `runnable_RUN_ID`), else one is made up.
        tag: Groups runs; `STEPLOG_TAG` without one.
        parameters: What the run was started with, any values that can be tracked.

    Returns:
        The run, to be ended by a `with` block, by `end()`, or by the end of the process.

    Raises:
        InvalidName: The run id is none.
    """
    global _watch
    writer = _new_writer(_home(), run_id or _run_id_from_environment())
    run = Run(writer, tag or os.environ.get("STEPLOG_TAG", ""))
    if _watch is None:
        _watch = exits.ExitWatch(_leave_all)
    _open_runs.append(run)
    run._environment = os.environ.get("STEPLOG_RUN_ID")
    os.environ["STEPLOG_RUN_ID"] = run.run_id
    run._token = place.enter(run.outermost)
    writer.join(run.tag, dict(parameters or {}), {"command": _command()})
    return run


def current_place() -> place.Place:
    """Return where a call tracks to; starts a run when there is none."""
    at = place.here.get()
    if at is not None:
        return at
    if place.shared:
        return place.shared[-1]
    return _start_by_itself().outermost


def get_run_id() -> str:
    """Return the id of the run that this call would track to; starts one when there is none."""
    return current_place().run.run_id


def _start_by_itself() -> Run:
    """Start the run of a process that tracks without having started one; never raises."""
    try:
        return start_run()
    except InvalidName as error:  # the environment names a run that cannot be
        losses.report(error, "a new run")
        return start_run(_propose(_home())[0])


def _place_in(run: Run) -> place.Place:
    at = place.here.get()
    if at is not None and at.run is run:
        return at
    return next((at for at in reversed(place.shared) if at.run is run), run.outermost)


def _leave_all(outcome: exits.Outcome) -> None:
    for run in reversed(_open_runs.copy()):
        run.end(*outcome)


def _on_spool_open() -> None:
    if _watch is not None:
        _watch.watch_worker()


def _new_writer(home: Path, run_id: str | None) -> Writer:
    if run_id is not None:
        return Writer(home, check_run_id(run_id), _on_spool_open)
    run_id, fd = _propose(home)
    return Writer(home, run_id, _on_spool_open, fd)


def _propose(home: Path) -> tuple[str, int]:
    """Make up a run id that is not taken, and open its spool if that can be done now."""
    for attempt in range(_PROPOSALS):
        run_id = propose_run_id()
        if attempt > _PROPOSALS // 2:
            run_id = f"{run_id}-{os.urandom(4).hex()}"
        if document_path(home, run_id).exists():
            continue
        try:
            return run_id, open_spool(home, run_id, exclusive=True)
        except FileExistsError:
            continue
        except OSError:  # the writer tries again with each event, and says what is wrong
            break
    return f"{propose_run_id()}-{os.urandom(4).hex()}", -1


def _run_id_from_environment() -> str | None:
    """Return the run that somebody else named, not what this process told its children."""
    environment: dict[str, str | None] = dict(os.environ)
    if _open_runs:
        environment["STEPLOG_RUN_ID"] = _open_runs[0]._environment
    return next((run_id for name in RUN_ID_VARIABLES if (run_id := environment.get(name))), None)


def _restore_environment(run_id: str | None) -> None:
    if run_id is None:
        os.environ.pop("STEPLOG_RUN_ID", None)
    else:
        os.environ["STEPLOG_RUN_ID"] = run_id


def _home() -> Path:
    try:
        return default_home()
    except RuntimeError as error:  # no HOME, no such user: every event will say so
        losses.report(error, "a new run")
        return Path("/nonexistent")


def _command() -> list[str]:
    arguments = getattr(sys, "argv", [])
    return [argument[:_MAX_ARGUMENT_CHARACTERS] for argument in arguments[:_MAX_ARGUMENTS]]
