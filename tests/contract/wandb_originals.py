"""What names in W&B stand for here: the other way round, by which it is seen that none is lost."""

from __future__ import annotations

import re
from typing import Final

_WRAP: Final = "steplog/key/"
_ESCAPED: Final = re.compile(r"_x([0-9A-F]{2,6})_")


def original_name(name: str) -> str:
    """Undo `free_name`."""
    if not name.startswith(_WRAP):
        return name
    escapes = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")
    return escapes.sub(
        lambda found: chr(int(found[1], 16)) if found[1] else "\\", name.removeprefix(_WRAP)
    )


def original_project(project: str) -> str:
    """Undo `project_name`, unless the name was too long."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), project)
