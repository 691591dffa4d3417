"""Where a call tracks to: the run and the task that this thread or coroutine is in."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

from steplog import environment
from steplog.events import DEFAULT_TASK, Track, task_field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steplog.run import Run


class Place:
    """A task of a run, as a context sees it."""

    __slots__ = ("path", "run", "task", "writer")

    def __init__(self, run: Run, path: tuple[str, ...]) -> None:
        self.run = run
        self.writer = run.writer
        self.path = path
        self.task = task_field(path)

    def inner(self, name: str) -> Place:
        """Return the place of a task that is entered here."""
        path = self.path
        if self is self.run.outermost:
            if path == (DEFAULT_TASK,):  # nobody named a task
                return Place(self.run, (name,))
            # `steplog exec --task train` of a program that enters `train`, say: both mean one task.
            if path[-1] == name:
                return Place(self.run, path)
        return Place(self.run, (*path, name))

    def told_path(self) -> tuple[str, ...] | None:
        """Return the task for processes that are started here; None: what this one was told."""
        return None if self is self.run.outermost else self.path

    def other_run_id(self) -> str | None:
        """Return the run that this context belongs to instead; only a pipeline's place knows."""
        return None


# A coroutine, or a thread that entered a run or task by itself, has its own place. Another thread
# (that of a data loader, say) is where the main thread is; so `shared` has the runs, and the tasks
# that the main thread entered. Where these are of coroutines side by side, it is in the task that
# they are all in. A coroutine without a place of its own is in the run alone.
here: Final[ContextVar[Place | None]] = ContextVar("steplog_place", default=None)
shared: Final[list[Place]] = []


def track(at: Place, values: Mapping[str, Any], step: int) -> None:
    """Track values at a place; what is no mapping is lost there as what cannot be encoded is."""
    if values.__class__ is dict:
        at.writer.track(at.task, step, values)
    else:
        at.writer.append(Track, task=at.task, step=step, values=values)


def enter(place: Place) -> Token[Place | None]:
    """Make a place the current one."""
    if place is place.run.outermost or _is_main_thread():
        shared.append(place)
        tell_children()
    return here.set(place)


def innermost(run: Run | None = None) -> Place | None:
    """Return where a thread or coroutine is that entered nothing by itself; None without a run."""
    places = shared.copy()
    if run is not None:
        places = [at for at in places if at.run is run]
    if not _is_main_thread():
        return _common(places)
    return next((at for at in reversed(places) if at is at.run.outermost), None)


def leave(place: Place, token: Token[Place | None]) -> None:
    """Undo `enter`; from any thread or context, in any order."""
    try:
        shared.remove(place)
    except ValueError:  # another thread's task
        pass
    else:
        tell_children()
    try:
        here.reset(token)
    except (ValueError, RuntimeError):  # left in another context than it was entered in
        if here.get() is place:
            here.set(None)


def _common(places: list[Place]) -> Place | None:
    """Return the innermost place that all others are in or around, of the run entered last."""
    if not places:
        return None
    run = places[-1].run
    outermost = run.outermost
    tasks = [at for at in places if at.run is run and at is not outermost]
    inner = outermost
    path: tuple[str, ...] = ()
    for at in tasks:
        if at.path[: len(path)] != path:
            return _fork_of(tasks) or outermost
        inner, path = at, at.path
    return inner


def _fork_of(tasks: list[Place]) -> Place | None:
    """Return the innermost task that all others are in or around, which were entered anyhow."""
    longest = max((at.path for at in tasks), key=len)
    apart = [at.path for at in tasks if at.path != longest[: len(at.path)]]
    path = tuple(os.path.commonprefix([longest, *apart]))  # noqa: RUF071  # of any sequences
    return next((at for at in tasks if at.path == path), None)


def tell_children() -> None:
    """Let processes that this one starts find the task that all of its tasks are in or around."""
    at = _common(shared.copy())
    environment.tell_task(None if at is None else at.told_path())


def _is_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident
