r"""How runs, tags and keys are called in W&B, and that no two become one.

W&B takes nearly any name, so that nearly all stay as they are. A project's name takes none of
`/ \ # ? % :` and at most 128 characters: others are written `_xHEX_`, as in `a_x2F_b` for `a/b`,
and one too long ends in `_xHASH…_`. A column whose name W&B, or we, have a meaning for already is
found below `steplog/key/`, where a backslash is doubled and half a surrogate pair escaped by it.
"""

from __future__ import annotations

import re
from typing import Final

from steplogd.delivery.naming import full_name, hex_escape, shortened

MAX_PROJECT: Final = 128
"""The most characters in the name of a project."""

DEFAULT_PROJECT: Final = "steplog"
"""The project of runs without a tag."""

STEP_COLUMN: Final = "steplog/step"
"""The column with the step that the task named: W&B's own is the position in the run log."""

WHOLE_PREFIX: Final = "steplog/whole/"
"""Before the name of a column, in that of the one beside it that is exact."""

OWN_PREFIX: Final = "steplog."
"""Before what the summary and the configuration say of the run itself."""

_WRAP: Final = "steplog/key/"
# W&B keeps names with an underscore first for itself; the summary holds our own names as well.
_RESERVED: Final = re.compile(r"_|steplog[./]|$|.*[\ud800-\udfff]", re.DOTALL)
_MARK: Final = r"x(?:[0-9A-F]{2,6}|HASH[0-9a-f]{32})_"
_NO_PROJECT: Final = re.compile(rf"[/\\#?%:]|[^\S ]|[\x00-\x1f\x7f\ud800-\udfff]|_(?={_MARK})")


def column_name(task: tuple[str, ...], key: str) -> str:
    """Return the name of a key's column; a nested task's key stands below its path."""
    return free_name(full_name(task, key))


def free_name(name: str) -> str:
    """Return a name, or what it is found under when it has a meaning already."""
    if not _RESERVED.match(name):
        return name
    doubled = name.replace("\\", "\\\\")
    return _WRAP + doubled.encode("utf-8", "backslashreplace").decode()


def metric_pattern(name: str) -> str:
    """Return what `define_metric` takes for a column, or for all that begin like it.

    An asterisk means "and whatever follows" there, and a dot leads into an object.
    """
    beginning, asterisk, _ = name.partition("*")
    return beginning.replace(".", "\\.") + asterisk


def project_name(tag: str, default: str = "") -> str:
    """Return the project of runs with this tag.

    Args:
        tag: The run's tag; "" without one.
        default: The project of all runs, if there is one for all.
    """
    name = default or tag or DEFAULT_PROJECT
    return shortened(_NO_PROJECT.sub(hex_escape, name), name, MAX_PROJECT)
