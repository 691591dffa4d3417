"""What a command finds in its environment: its run, its task, and what its shells need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from steplog.events import DEFAULT_TASK
from steplog.execution.exports import is_tracked
from steplog.execution.program import SHELL_FOLDER
from steplog.task_text import path_of, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from steplog.execution.sink import Sink

_MARK: Final = "STEPLOG_EXEC"
"""`RUN:TASK` of the command that we are in: what an exec in it stands below, and what of its
environment is not the user's own. A run id has no colon."""

_BASH_PRELUDE: Final = f"{SHELL_FOLDER}/bash.sh"
_SHIMS: Final = f"{SHELL_FOLDER}/shims"


def task_path(name: str | None, run_id: str | None) -> tuple[str, ...]:
    """Return the path of the task that a command runs as.

    Args:
        name: The task, if the user named it; otherwise the environment may.
        run_id: The run, unless it is made up.
    """
    marked_run, _, marked_task = os.environ.get(_MARK, "").partition(":")
    said = path_of(os.environ.get("STEPLOG_TASK") or DEFAULT_TASK)
    if not marked_task:
        return (name,) if name else said
    outer = path_of(marked_task)
    if marked_run != run_id:
        return (name,) if name else (DEFAULT_TASK,) if said == outer else said
    if said != outer and said[: len(outer)] == outer:  # a program entered a task, and told us
        return (*said, name) if name else said
    return (*outer, *((name,) if name else (DEFAULT_TASK,) if said == outer else said))


def environment_of(
    run_id: str, home: Path | None, path: tuple[str, ...], sink: Sink | None
) -> dict[bytes, bytes]:
    """Return the environment of a command: ours, without what is tracked from it.

    Args:
        run_id: The run.
        home: The home, or None where there is none to be had.
        path: The task.
        sink: Where its shells record what they export, if they can.
    """
    environment = {name: value for name, value in _own().items() if not is_tracked(name)}
    task = text_of(path)
    told = {"STEPLOG_RUN_ID": run_id, "STEPLOG_TASK": task, _MARK: f"{run_id}:{task}"}
    if home is not None:
        told["STEPLOG_HOME"] = str(home)
    if sink is not None:
        told |= _for_shells(sink)
    return environment | {os.fsencode(name): os.fsencode(text) for name, text in told.items()}


def _for_shells(sink: Sink) -> dict[str, str]:
    told = {"STEPLOG_EXEC_SINK": sink.address, "STEPLOG_EXEC_FOLDER": SHELL_FOLDER}
    bash_env = os.environ.get("BASH_ENV", "")
    if bash_env != _BASH_PRELUDE:
        told |= {"STEPLOG_EXEC_BASH_ENV": bash_env, "BASH_ENV": _BASH_PRELUDE}
    path = os.environ.get("PATH", os.defpath)
    if not path.startswith(f"{_SHIMS}:"):
        told["PATH"] = f"{_SHIMS}:{path}"
    return told


def _own() -> dict[bytes, bytes]:
    """Return our environment as it was before the interpreter added to it."""
    environment = dict(os.environb)
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123
            initial = b"\0" + file.read()
    except OSError:
        return environment
    if b"\0LC_CTYPE=" not in initial:  # made up in the C locale
        environment.pop(b"LC_CTYPE", None)
    return environment
