"""What stands for a value in a tracker that keeps only texts and doubles."""

from __future__ import annotations

import json
import math
from typing import Any

from steplog.values import MAX_PLAIN_BITS, nonfinite_name


def shown(value: Any) -> str:
    """Return a value as a text: as `mlflow.log_param` would, but lists and dicts as JSON.

    Within JSON, non-finite numbers stand as the strings "NaN", "Infinity", "-Infinity".
    """
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (bool, int, float)):
        return _unparsable(value) or str(value)
    return json.dumps(_printable(value), ensure_ascii=False)


def nearest_double(number: int) -> float:
    """Return the double nearest to an integer; an infinity beyond all of them."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return _unparsable(value) or value


def _unparsable(value: Any) -> str | None:
    """Return the text of a number that JSON, or a reader's integers, cannot take; else None."""
    if isinstance(value, float) and not math.isfinite(value):
        return nonfinite_name(value)
    if isinstance(value, int) and value.bit_length() > MAX_PLAIN_BITS:
        return hex(value)
    return None
