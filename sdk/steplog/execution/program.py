"""Which program a command's words run, and how a shell among them is made to record its exports."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from steplog.errors import SteplogError

SHELL_FOLDER: Final = str(Path(__file__).with_name("shell"))
"""Where the preludes and the stand-ins of the shells lie."""

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126

_SH: Final = "/bin/sh"

_PLAIN_SHELLS: Final = ("sh", "dash")
"""Shells that nothing in their environment makes read a prelude; bash has its BASH_ENV."""

_LONGEST_FIRST_LINE: Final = 256
"""As much as the kernel looks at."""


class NotStarted(SteplogError):
    """The command cannot be run; `status` is what a shell exits with then."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


def find(word: str) -> str:
    """Return the path of the program that a command's first word names.

    Raises:
        NotStarted: There is none.
    """
    if "/" in word:
        return word
    is_found = False
    for folder in os.environ.get("PATH", os.defpath).split(":"):
        path = f"{folder or '.'}/{word}"
        if os.path.isfile(path):  # noqa: PTH113
            if os.access(path, os.X_OK):
                return path
            is_found = True
    if is_found:
        raise refused(word, OSError(errno.EACCES, os.strerror(errno.EACCES)))
    raise NotStarted(
        f"{word!r} is not found; see that it is installed and that PATH has its folder", NOT_FOUND
    )


def refused(word: str, error: OSError) -> NotStarted:
    """Return what to say of a program that the kernel did not start."""
    if error.errno == errno.ENOENT and not os.path.exists(word) and "/" in word:  # noqa: PTH110
        return NotStarted(f"{word!r} is not found; see that its path is right", NOT_FOUND)
    return NotStarted(
        f"{word!r} cannot be executed ({error.strerror}); see that it is a program, "
        "that it may be executed, and that its first line names one",
        NOT_EXECUTABLE,
    )


def recorded(path: str, words: list[str]) -> tuple[str, list[str]]:
    """Return a program and words that run the same; a plain sh, or a script for one, recorded."""
    if os.path.basename(path) in _PLAIN_SHELLS:  # noqa: PTH119
        return _injected(path, words[0], words[1:])
    interpreter, *option = _first_line(path)
    if os.path.basename(interpreter) in _PLAIN_SHELLS:  # noqa: PTH119
        return _injected(interpreter, interpreter, [*option, path, *words[1:]])
    return path, words


def as_script(path: str, words: list[str]) -> tuple[str, list[str]]:
    """Return a program and words that run a file without a first line, as every shell does."""
    return _injected(_SH, _SH, [path, *words[1:]])


def _injected(shell: str, name: str, arguments: list[str]) -> tuple[str, list[str]]:
    return _SH, [_SH, f"{SHELL_FOLDER}/inject.sh", shell, name, *arguments]


def _first_line(path: str) -> list[str]:
    """Return the interpreter that a script names, and its one option if any; else `[""]`."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # a Path may not be what was said
            line = file.readline(_LONGEST_FIRST_LINE)
    except OSError:
        return [""]
    if not line.startswith(b"#!"):
        return [""]
    return [os.fsdecode(word) for word in line[2:].strip().split(None, 1)] or [""]
