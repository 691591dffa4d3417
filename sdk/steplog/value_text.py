"""Values that come as text, from an argument or the environment: what each of them stands for."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def parse_value(text: str) -> Any:
    """Return what a text stands for: an int, a float, a list or a dict by JSON, or else itself.

    Raises:
        RecursionError: A list or an object is nested too deeply.
    """
    if number := _NUMBER.fullmatch(text):
        return float(text) if number.group(1) or number.group(2) else _integer(text)
    if text[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text, parse_int=_integer, parse_constant=_refuse)
    except ValueError:
        return text


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # more digits than CPython takes
        from decimal import Decimal

        return int(Decimal(text))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
