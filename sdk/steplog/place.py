"""Where a call tracks to: the run and the task that this thread or coroutine is in."""

from __future__ import annotations

import contextlib
import threading
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

from steplog.events import Track

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
        # What stands in the line: a name where that says it all.
        self.task: str | tuple[str, ...] = path[0] if len(path) == 1 else path


# A coroutine, or a thread that entered a run or task by itself, has its own place. Another thread
# (that of a data loader, say) is where the main thread is; so `shared` has the runs, and the tasks
# that the main thread entered. A coroutine without a place of its own is in the run alone: the
# task that the main thread is in may be that of another coroutine.
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
    return here.set(place)


def innermost() -> Place | None:
    """Return where a thread or coroutine is that entered nothing by itself; None without a run."""
    may_share = not _is_main_thread()
    for place in reversed(shared.copy()):
        if may_share or place is place.run.outermost:
            return place
    return None


def _is_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def leave(place: Place, token: Token[Place | None]) -> None:
    """Undo `enter`; from any thread or context, in any order."""
    with contextlib.suppress(ValueError):
        shared.remove(place)
    try:
        here.reset(token)
    except (ValueError, RuntimeError):  # left in another context than it was entered in
        if here.get() is place:
            here.set(None)
