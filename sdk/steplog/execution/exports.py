"""Variables of the environment that stand for values to track, and the calls that track them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from steplog import place
from steplog.documents import quote
from steplog.encoding import prepare
from steplog.events import MAX_LINE_BYTES
from steplog.value_text import parse_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from steplog.place import Place

_NAME: Final = re.compile(
    rb"(?:STEPLOG|runnable|RUNNABLE|MAGNUS)_TRACK_(.+?)(?:_STEP_(-?[0-9]{1,19}))?", re.DOTALL
)
_ROOM_FOR_THE_REST: Final = 1024
"""Bytes of a line beside its values and its task."""

Variable = tuple[bytes, bytes]
"""The name and the value of a variable."""


def is_tracked(name: bytes) -> bool:
    """Tell whether a variable of this name is one to track."""
    return _NAME.fullmatch(name) is not None


def variables_of(environ: bytes) -> Iterator[Variable]:
    """Yield the variables of an environment as the kernel keeps it: each ends with a NUL."""
    for entry in environ.split(b"\0"):
        name, sign, value = entry.partition(b"=")
        if sign:
            yield name, value


class Exports:
    """Tracks into one task what variables say, and each value once until it changes.

    Args:
        at: The task.
    """

    def __init__(self, at: Place) -> None:
        self._at = at
        self._room = MAX_LINE_BYTES - _ROOM_FOR_THE_REST - sum(len(quote(name)) for name in at.path)
        self._last: dict[tuple[str, int], str] = {}

    def track(self, variables: Iterable[Variable]) -> None:
        """Track the variables that are to be: one call for each step, or more where they must.

        Of the same key and step the later one counts. What cannot be tracked is warned of, and
        costs nothing but itself.
        """
        by_step: dict[int, dict[str, Any]] = {}
        for name, value in variables:
            found = _NAME.fullmatch(name)
            if found is None:
                continue
            key, step, text = os.fsdecode(found[1]), int(found[2] or 0), os.fsdecode(value)
            if self._last.get((key, step)) == text:
                continue
            self._last[key, step] = text
            by_step.setdefault(step, {})[key] = _value_of(text)
        for step, values in by_step.items():
            for part in _parts(values, self._room):
                place.track(self._at, part, step)


def _value_of(text: str) -> Any:
    try:
        return parse_value(text)
    except RecursionError:
        return text


def _parts(values: dict[str, Any], room: int) -> Iterator[dict[str, Any]]:
    """Split values so that each part fits into a line; what fits into none is alone."""
    part: dict[str, Any] = {}
    left = room
    for key, value in values.items():
        size = _size(key, value, room)
        if part and size > left:
            yield part
            part, left = {}, room
        part[key] = value
        left -= size
    yield part


def _size(key: str, value: Any, room: int) -> int:
    try:
        return len(bytes(prepare({key: value})))
    except (TypeError, ValueError):
        return room + 1
