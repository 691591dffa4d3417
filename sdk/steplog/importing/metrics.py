"""What a step of the original tracked: values by key, and for some keys by step. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_WHOLE_NUMBER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_INT64: Final = 2**63


def observations(metrics: dict[str, Any]) -> Iterator[tuple[str, int, Any]]:
    """Return key, step and value of all that was tracked, in the order of the document."""
    for key, value in metrics.items():
        if not is_by_step(value):
            yield key, 0, value
            continue
        for step, one in value.items():
            yield key, int(step), one


def is_by_step(value: Any) -> bool:
    """Tell whether a value stands for one at each step.

    The original writes steps like a nested value, so that an object whose names are all whole
    numbers may be either; it is taken for steps. One that has but step 0 is not: step 0 alone
    stands flat.
    """
    if not isinstance(value, dict) or not value or value.keys() == {"0"}:
        return False
    return all(_is_step(name) for name in value)


def _is_step(name: str) -> bool:
    return bool(_WHOLE_NUMBER.fullmatch(name)) and -_INT64 <= int(name) < _INT64
