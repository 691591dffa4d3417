"""The task that the environment names, to this process and to those that it starts."""

from __future__ import annotations

import os
from typing import Final

from steplog.task_text import path_of, text_of

_VARIABLE: Final = "STEPLOG_TASK"
_MAX_CHARACTERS: Final = 8000
"""A name may have any length, but nothing can be started in an environment that is too large."""

_told: str | None = None  # what we put there
_before: str | None = None  # what had been there


def named_task() -> tuple[str, ...]:
    """Return the names from the outermost task to the one that this process was started in.

    Empty when it was started in none. What was told to this process's own children is passed over.
    """
    text = os.environ.get(_VARIABLE)
    name = _before if text == _told else text
    return path_of(name) if name else ()


def tell_task(path: tuple[str, ...] | None) -> None:
    """Let processes that are started from now on find a task; None: what this one was told."""
    global _told, _before
    current = os.environ.get(_VARIABLE)
    if current != _told:  # somebody else has changed it meanwhile
        _before = current
    text = "" if path is None else text_of(path)
    _told = text if 0 < len(text) <= _MAX_CHARACTERS else _before
    if _told is None:
        os.environ.pop(_VARIABLE, None)
    elif _told != current:
        os.environ[_VARIABLE] = _told


def show_task(path: tuple[str, ...]) -> str:
    """Return a task as it stands in a line: its name, or several in a list, as JSON in ASCII."""
    from steplog.documents import quote

    names = [quote(name) for name in path]
    return names[0] if len(names) == 1 else f"[{','.join(names)}]"
