"""The step of a `runnable` pipeline that this process is in, as the pipeline tells it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from steplog.events import DEFAULT_TASK, End
from steplog.place import Place

if TYPE_CHECKING:
    from types import ModuleType

    from steplog.run import Run

_PLACEHOLDERS: Final = ("map_variable_placeholder", "loop_variable_placeholder")
"""What a pipeline's definition writes for the item of a map, and for the turn of a loop."""


class StepPlace(Place):
    """The outermost place of a run in a pipeline: the step that is under way at each call.

    A pipeline runs its Python tasks one after the other in one process, and no environment variable
    has the name of the step: it stands in the pipeline's own context alone. Between the steps, the
    place is what it would be without a pipeline.

    Nobody tells when a step ends, so it ends here when another is seen: successfully, or the
    pipeline would hardly have gone on.

    Args:
        run: The run.
        path: The task that the process was started in.
        pipeline: `runnable.context`, which the pipeline has loaded.
    """

    __slots__ = ("_context", "_is_pipelines", "_outside", "_path", "_pipeline")

    def __init__(self, run: Run, path: tuple[str, ...], pipeline: ModuleType) -> None:
        self.run = run
        self.writer = run.writer
        self._outside = self._path = path
        self._pipeline = pipeline
        self._context: Any = None
        self._is_pipelines = run_id_in(pipeline) == run.run_id

    @property
    def path(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names from the outermost step to the current one."""
        # Another thread than the pipeline's (that of a data loader, say) does not see its context.
        self._context = _context_in(self._pipeline) or self._context
        path = self._path_of(_step_of(self._context))
        if path != self._path:
            before, self._path = self._path, path
            if before != self._outside:
                self.writer.append(End, task=_task_of(before), status="SUCCESS", message="")
        return path

    @property
    def task(self) -> str | tuple[str, ...]:  # type: ignore[override]
        """What stands in the line."""
        return _task_of(self.path)

    def _path_of(self, step: tuple[str, ...]) -> tuple[str, ...]:
        if self._outside in ((DEFAULT_TASK,), step):
            return step or self._outside
        return (*self._outside, *step)

    def other_run_id(self) -> str | None:
        """Return the run of another pipeline that this context is in, as in a server of many."""
        run_id = run_id_in(self._pipeline) if self._is_pipelines else None
        return None if run_id == self.run.run_id else run_id


def run_id_in(pipeline: ModuleType) -> str | None:
    """Return the run id of the pipeline that this context is in, of `runnable.context`."""
    run_id = getattr(_context_in(pipeline), "run_id", None)
    return run_id if isinstance(run_id, str) else None


def _context_in(pipeline: ModuleType) -> Any:
    get_run_context = getattr(pipeline, "get_run_context", None)
    return get_run_context and get_run_context()


def _task_of(path: tuple[str, ...]) -> str | tuple[str, ...]:
    return path[0] if len(path) == 1 else path


def _step_of(context: Any) -> tuple[str, ...]:
    """Return the names from the outermost step to the current one; none between the steps."""
    node = getattr(getattr(context, "pipeline_executor", None), "_context_node", None)
    name = getattr(node, "name", None)
    if not isinstance(name, str):
        return ()
    defined = getattr(node, "internal_branch_name", None) or ""
    actual = getattr(getattr(node, "executable", None), "internal_branch_name", None) or defined
    return (*_branch(defined, actual), name)


def _branch(defined: str, actual: str) -> tuple[str, ...]:
    """Split a dotted branch name where its definition does: the item of a map may have dots."""
    if not defined:
        return ()
    parts = (
        r"(.+)" if part in _PLACEHOLDERS else f"({re.escape(part)})" for part in defined.split(".")
    )
    match = re.fullmatch(r"\.".join(parts), actual, re.DOTALL)
    return match.groups() if match else tuple(actual.split("."))
