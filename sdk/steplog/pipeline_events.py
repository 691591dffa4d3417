"""What a pipeline of `runnable` tells of each task as it begins and ends, heard along the way."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from steplog.exits import SUCCESS, Outcome, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

_KINDS: Final = ("task_started", "task_completed", "task_error")


class EventQueue:
    """The queue that a pipeline puts its events into, which hands all of them on.

    Args:
        hear: Called with each event, by the pipeline's own thread.
        before: The queue that was there before; None when nobody else listens.
    """

    def __init__(self, hear: Callable[[Any], None], before: Any) -> None:
        self._hear = hear
        self.before = before

    def put_nowait(self, event: Any) -> None:
        """Take an event."""
        self._hear(event)
        if self.before is not None:
            self.before.put_nowait(event)

    def put(self, event: Any, *args: Any, **kwargs: Any) -> Any:
        """Hand on what a task of the user's puts in by itself."""
        return None if self.before is None else self.before.put(event, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.before, name)


def listen(hear: Callable[[Any], None]) -> None:
    """Have all further events of the pipeline in this context heard, by nobody else of ours."""
    telemetry = sys.modules.get("runnable.telemetry")
    get_queue = getattr(telemetry, "get_stream_queue", None)
    set_queue = getattr(telemetry, "set_stream_queue", None)
    if get_queue is None or set_queue is None:
        return
    queue = get_queue()
    if not isinstance(queue, EventQueue):
        set_queue(EventQueue(hear, queue))
    elif queue._hear != hear:
        set_queue(EventQueue(hear, queue.before))


def kind_of(event: Any, node: Any) -> str:
    """Return what an event says of the task of a node; "" when it is of something else.

    A task may put events of its own into the queue, of any kind.
    """
    if not isinstance(event, dict) or event.get("type") not in _KINDS:
        return ""
    command, name = getattr(getattr(node, "executable", None), "command", None), event.get("name")
    is_ours = isinstance(command, str) and isinstance(name, str) and command.startswith(name)
    return str(event["type"]) if is_ours else ""


def outcome_of_task(kind: str) -> Outcome:
    """Return how a task ended, from within the event that says so."""
    if kind != "task_error":
        return SUCCESS
    error = sys.exc_info()[1]  # the pipeline's own; what the task raised is the cause of that
    if error is None:
        return ("FAIL", "")
    return outcome_of(error.__cause__ or error)
