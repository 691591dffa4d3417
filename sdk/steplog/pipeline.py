"""The step of a `runnable` pipeline that this process is in, as the pipeline tells it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from steplog import forks
from steplog.errors import TrackingError
from steplog.events import DEFAULT_TASK, End, Start, task_field
from steplog.exits import SUCCESS, Outcome
from steplog.pen import opening
from steplog.pipeline_context import (
    context_in,
    context_of_main_thread,
    is_failure_handled,
    node_of,
    run_id_in,
    run_id_of,
    step_of,
)
from steplog.pipeline_events import kind_of, listen, outcome_of_task
from steplog.place import Place, shared, tell_children
from steplog.writer import Writer

if TYPE_CHECKING:
    from types import ModuleType

    from steplog.run import Run


class StepPlace(Place):
    """The outermost place of a run in a pipeline: the step that is under way at each call.

    A pipeline runs its Python tasks one after the other in one process, and no environment variable
    has the name of the step: it stands in the pipeline's own context alone. Between the steps, the
    place is what it would be without a pipeline.

    From the first call on, the pipeline's events tell when a step begins, when it ends, and how.
    Where they do not come (the call was a thread's, which cannot listen for the pipeline), a step
    ends when another is seen: successfully, or the pipeline would hardly have gone on.

    Args:
        run: The run.
        path: The task that the process was started in.
        pipeline: `runnable.context`, which the pipeline has loaded.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_done",
        "_heard",
        "_is_alone",
        "_is_pipelines",
        "_lock",
        "_outside",
        "_path",
        "_pipeline",
    )

    def __init__(self, run: Run, path: tuple[str, ...], pipeline: ModuleType) -> None:
        self.run = run
        self.writer = run.writer
        self._outside = self._path = path
        self._pipeline = pipeline
        self._context: Any = context_in(pipeline) or context_of_main_thread()
        self._heard: Any = None  # the context whose events come
        self._done: Any = None  # the node whose task has ended, which stays there for a while
        self._is_pipelines = run_id_of(self._context) == run.run_id
        self._lock = threading.RLock()
        # A branch that runs in a worker: the pipeline's own process may never say a word.
        self._is_alone = opening().worker
        forks.watch(self)

    @property
    def path(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names from the outermost step to the current one."""
        # Another thread than the pipeline's (that of a data loader, say) does not see its context.
        context = context_in(self._pipeline)
        if context is not None:
            self._context = context
        elif self._context is None:
            self._context = context_of_main_thread()
        path = self._path_of(node_of(self._context))
        # Also at each step: what is set up within `asyncio.run` lasts as long as that.
        if context is not None and (context is not self._heard or path != self._path):
            self._heard = context
            listen(self.hear)
        if path != self._path:
            self._move(path)
        return path

    @property
    def task(self) -> str | tuple[str, ...]:  # type: ignore[override]
        """What stands in the line."""
        return task_field(self.path)

    def told_path(self) -> tuple[str, ...] | None:
        """Return the step; None between the steps."""
        path = self.path
        return None if path == self._outside else path

    def other_run_id(self) -> str | None:
        """Return the run of another pipeline that this context is in, as in a server of many."""
        run_id = run_id_in(self._pipeline) if self._is_pipelines else None
        return None if run_id in (self.run.run_id, self.run.asked_id) else run_id

    def hear(self, event: Any) -> None:
        """Take an event of the pipeline, in whose context this is called."""
        if self not in shared or self.other_run_id() is not None:
            return  # the run has ended, or the event is of another one's pipeline
        node = node_of(context_in(self._pipeline))
        kind = kind_of(event, node)
        if kind == "task_started":
            self._done = None
            self._move(self.path)
        elif kind:
            self._move(self.path)
            self._done = node
            status, message = outcome_of_task(kind)
            self._move(self._outside, (status, message))
            if status == "FAIL" and self._is_alone and not is_failure_handled(node, self._context):
                self._fail_run(message)

    def become_copy(self) -> None:
        """In a forked child: take no lock that a thread of the parent may have held."""
        self._lock = threading.RLock()
        self._is_alone = False

    def _fail_run(self, message: str) -> None:
        """Let the run fail, whatever else this worker is going to do, and however it ends."""
        with contextlib.suppress(TrackingError):
            witness = Writer(self.writer.home, self.writer.run_id, lambda: None)
            witness.join("", {}, {})
            witness.leave("FAIL", message)

    def _path_of(self, node: Any) -> tuple[str, ...]:
        step = () if node is self._done else step_of(node)
        if self._outside in ((DEFAULT_TASK,), step):
            return step or self._outside
        return (*self._outside, *step)

    def _move(self, path: tuple[str, ...], outcome: Outcome = SUCCESS) -> None:
        """Go from one step to another, or to the outside; the outcome is that of the one before."""
        # What cannot be recorded here, the call that follows cannot record either, and says so.
        with self._lock, contextlib.suppress(TrackingError):
            before, self._path = self._path, path
            if path == before:  # another thread was here first
                return
            if before != self._outside:
                status, message = outcome
                self.writer.append(End, task=task_field(before), status=status, message=message)
            if path != self._outside:
                self.writer.append(Start, task=task_field(path))
        tell_children()
