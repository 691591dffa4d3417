"""What runs, as those who join a run say it for the run log's `run_config`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from steplog.command_words import MASK, is_secret, without_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLE_PREFIXES: Final = ("STEPLOG_VAR_", "RUNNABLE_VAR_", "runnable_VAR_")
"""The environment names the variables of a run so; its run log keeps them."""

# All that is said leaves room in the line for the run's parameters.
_MAX_VARIABLES_CHARACTERS: Final = 8000
_MAX_COMMAND_CHARACTERS: Final = 8000
_MAX_ARGUMENTS: Final = 100


def of_program() -> dict[str, Any]:
    """Say what this process runs: a program, so there is no file that describes it."""
    files = dict.fromkeys(("pipeline_file", "parameters_file", "configuration_file"), "")
    return {**files, **of_command(getattr(sys, "argv", []))}


def of_command(words: Sequence[str]) -> dict[str, Any]:
    """Say what a command runs: its words, and the run's variables that the environment names.

    What is plainly a password or a key is left out of both.
    """
    return {"variables": _variables(), "command": _bounded(words)}


def _variables() -> dict[str, str]:
    kept: dict[str, str] = {}
    room = _MAX_VARIABLES_CHARACTERS
    for name, value in os.environ.items():
        if name.startswith(VARIABLE_PREFIXES):
            room -= len(name) + len(value)
            if room >= 0:
                name = name.partition("_VAR_")[2]
                kept[name] = MASK if is_secret(name) else value
    return kept


def _bounded(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    room = _MAX_COMMAND_CHARACTERS
    for word in without_secrets(map(str, words[:_MAX_ARGUMENTS])):
        kept.append(word[:room])
        room -= len(kept[-1])
    return kept
