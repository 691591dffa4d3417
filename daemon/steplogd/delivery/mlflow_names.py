"""How names of any kind become names that MLflow takes, and what they were before.

MLflow takes word characters, slashes, dots, dashes, colons and spaces, at most 250 of them, in a
path that means itself. Any other character is written `_xHEX_`, as in `loss_x25_` for `loss%`; an
empty part of a path is written `_xEMPTY_`; an underscore that could be taken for the beginning of
such an escape is escaped too. So distinct names stay distinct, and most stay as they are. A name
too long for MLflow keeps its beginning and ends in `_xHASH…_`: that one must be looked up.
"""

from __future__ import annotations

import re
from typing import Final

from steplogd.delivery.naming import hex_escape, shortened

MAX_NAME: Final = 250
"""The most characters in the name of a metric, param or tag."""

MAX_STEM: Final = MAX_NAME - 21
"""The same for a param, before `_` and its step: an int64 takes up to 20 characters."""

MAX_FILE: Final = 200
"""The most bytes of a name in the name of a file, which takes 255 with its suffix."""

_MARK: Final = r"x(?:[0-9A-F]{2,6}|EMPTY|HASH[0-9a-f]{32})"
_FOREIGN: Final = r"[^\w./\- :]"
# What follows an underscore may be an escape only once escaped itself: hence the second lookahead.
_TO_ESCAPE: Final = re.compile(rf"{_FOREIGN}|_(?={_MARK}(?:_|{_FOREIGN}))")
_ESCAPED: Final = re.compile(r"_x(?:([0-9A-F]{2,6})|EMPTY|HASH([0-9a-f]{32}))_")
_UNFIT_FOR_FILES: Final = re.compile(r"[^A-Za-z0-9._-]|^\.")


def mlflow_name(name: str, limit: int = MAX_NAME) -> str:
    """Return the name that stands for this one in MLflow; the name itself wherever it can."""
    text = _TO_ESCAPE.sub(hex_escape, name)
    first, *rest = text.split("/")
    # MLflow refuses a path that begins with two dots, even within a longer first part.
    first = _hex_dot(first) if first.startswith("..") else first
    return shortened("/".join(_part(part) for part in (first, *rest)), name, limit)


def param_name(stem: str, step: int) -> str:
    """Return the name of the param that holds the value of one step."""
    return f"{stem}_{step}"


def original_name(name: str) -> str | None:
    """Undo `mlflow_name`; None when it was too long, and `digest_in` says where it is kept."""
    if digest_in(name):
        return None
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "", name)


def digest_in(name: str) -> str | None:
    """Return what stands for the cut part of an MLflow name; None when nothing was cut."""
    # One after the other from the left: the end of one escape may look like another's beginning.
    return next((found[2] for found in _ESCAPED.finditer(name) if found[2]), None)


def file_name(name: str) -> str:
    """Return the name of a file that stands for an MLflow name."""
    return shortened(_UNFIT_FOR_FILES.sub(hex_escape, name), name, MAX_FILE)


def _hex_dot(part: str) -> str:
    return "_x2E_" + part[1:]


def _part(part: str) -> str:
    if not part:
        return "_xEMPTY_"
    return _hex_dot(part) if part in (".", "..") else part
