"""What a pipeline of `runnable` has in its context: its run, the step under way, and its graph."""

from __future__ import annotations

import re
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import ModuleType

_PLACEHOLDERS: Final = ("map_variable_placeholder", "loop_variable_placeholder")
"""What a pipeline's definition writes for the item of a map, and for the turn of a loop."""

_HOLDERS: Final = {"runnable.context": "self", "runnable.entrypoints": "run_context"}
"""The variable of a module's functions that has the context, of a pipeline and of a branch."""


def context_in(pipeline: ModuleType) -> Any:
    """Return the context of the pipeline that this thread or coroutine is in; None without one."""
    get_run_context = getattr(pipeline, "get_run_context", None)
    return get_run_context and get_run_context()


def context_of_main_thread() -> Any:
    """Return the context of the pipeline that the main thread runs, from whatever thread."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        variable = _HOLDERS.get(frame.f_globals.get("__name__", ""))
        context = frame.f_locals.get(variable) if variable else None
        if hasattr(context, "pipeline_executor"):
            return context
        frame = frame.f_back
    return None


def run_id_in(pipeline: ModuleType) -> str | None:
    """Return the run id of the pipeline that this context is in, of `runnable.context`."""
    return run_id_of(context_in(pipeline))


def run_id_of(context: Any) -> str | None:
    """Return the run id of a pipeline."""
    run_id = getattr(context, "run_id", None)
    return run_id if isinstance(run_id, str) else None


def node_of(context: Any) -> Any:
    """Return the node of the step that is under way; None between the steps."""
    return getattr(getattr(context, "pipeline_executor", None), "_context_node", None)


def step_of(node: Any) -> tuple[str, ...]:
    """Return the names from the outermost step to this one; none between the steps."""
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


def is_failure_handled(node: Any, context: Any) -> bool:
    """Tell whether the graph says what to do when a step fails, or a step that it is a branch of.

    False where that cannot be told.
    """
    # Not the attribute, for which a pipeline that has no graph yet would import its definition.
    graph = getattr(context, "__dict__", {}).get("dag")
    names = str(getattr(node, "internal_name", "")).split(".")
    # A name is a step's, a branch's in it, a step's in that, and so on.
    for length in range(1, len(names), 2):
        around = _node_in(graph, ".".join(names[:length]))
        if getattr(around, "on_failure", ""):
            return True
        branches = getattr(around, "branches", None) or {}
        graph = branches.get(".".join(names[: length + 1])) or getattr(around, "branch", None)
    return bool(getattr(node, "on_failure", ""))


def _node_in(graph: Any, name: str) -> Any:
    nodes = getattr(graph, "nodes", None) or {}
    return next((node for node in nodes.values() if node.internal_name == name), None)
