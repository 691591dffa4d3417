"""Where a call tracks to: the run and the task that this thread or coroutine is in."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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


# A coroutine, or a thread that entered a run or task by itself, has its own place. Everything else
# (a worker thread, say) is where the process is: at the innermost place that anyone entered last.
here: Final[ContextVar[Place | None]] = ContextVar("steplog_place", default=None)
shared: Final[list[Place]] = []


def enter(place: Place) -> Token[Place | None]:
    """Make a place the current one."""
    shared.append(place)
    return here.set(place)


def leave(place: Place, token: Token[Place | None]) -> None:
    """Undo `enter`; from any thread or context, in any order."""
    if place in shared:
        shared.remove(place)
    try:
        here.reset(token)
    except (ValueError, RuntimeError):  # left in another context than it was entered in
        if here.get() is place:
            here.set(None)
