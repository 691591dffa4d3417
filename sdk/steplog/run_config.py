"""What ran, as the run log says it: executor, stores, trackers, command, and the graph of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from steplog.store_reader import RunRow

DO_NOTHING: Final = "do-nothing"
"""The tracker of a run that nobody delivers anywhere: the run log has it all."""

TERMINAL_STEPS: Final = ("success", "fail")


def run_config(
    run: RunRow, trackers: Sequence[str], tasks: Iterable[tuple[str, ...]]
) -> dict[str, Any]:
    """Return the `run_config` of a run log.

    What those who joined the run said of it comes first; the rest is how steplog runs anything.

    Args:
        run: The run.
        trackers: The types of the backends that the daemon delivers to; never how it gets in there.
        tasks: The path of each task, in the order of appearance.
    """
    usual = {
        "executor": {
            **_service("local", "executor"),
            "enable_parallel": False,
            "placeholders": {},
        },
        "run_log_store": _service("sqlite", "run_log_store"),
        "secrets_handler": _service(DO_NOTHING, "secrets"),
        "catalog_handler": _service("file-system", "catalog"),
        "experiment_tracker": _service(", ".join(trackers) or DO_NOTHING, "experiment_tracker"),
        "pipeline_file": "",
        "parameters_file": None,
        "configuration_file": None,
        "tag": "",
        "run_id": "",
        "variables": {},
        "use_cached": False,
        "original_run_id": "",
        "dag": _graph(list(tasks)),
        "dag_hash": "",
        "execution_plan": "chained",
    }
    return {**usual, **run.config, "tag": run.tag, "run_id": run.run_id}


def _service(name: str, kind: str) -> dict[str, Any]:
    return {"service_name": name, "service_type": kind}


def _graph(tasks: list[tuple[str, ...]]) -> dict[str, Any]:
    """Return the graph that a run went through: its outermost tasks in their order, its ends."""
    composite = {path[0] for path in tasks if len(path) > 1}
    names = list(dict.fromkeys(path[0] for path in tasks))
    ends = [name for name in TERMINAL_STEPS if name not in names]
    steps = {name: _node("task", name, is_composite=name in composite) for name in names}
    return {
        "start_at": names[0] if names else "",
        "name": "",
        "description": "",
        "internal_branch_name": "",
        "steps": steps | {name: _node(name, name) for name in ends},
    }


def _node(kind: str, name: str, *, is_composite: bool = False) -> dict[str, Any]:
    return {
        "type": kind,
        "name": name,
        "internal_name": name,
        "internal_branch_name": "",
        "is_composite": is_composite,
    }
