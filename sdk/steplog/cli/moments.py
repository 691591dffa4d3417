"""Moments as people write them in arguments: dates, times, and ages such as `12h`."""

from __future__ import annotations

import argparse
import re
import time
from datetime import UTC, date, datetime
from typing import Final

from steplog.times import to_ts

_AGE: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_EARLIEST: Final = -(2**63)
"""Of 64 bits; what lies further back selects the same runs."""


def since(text: str) -> int:
    """Take a moment as an argument, in microseconds since the epoch; a date is where it begins."""
    moment, _ = _span(text)
    return moment


def until(text: str) -> int:
    """Take a moment as an argument, in microseconds since the epoch; a date is where it ends."""
    moment, length = _span(text)
    return moment + length


def _span(text: str) -> tuple[int, int]:
    """Return a moment and how long it lasts: a date lasts a day."""
    if age := _AGE.fullmatch(text):
        number, unit = age.groups()
        now = time.time_ns() // 1000
        return max(_EARLIEST, now - int(number) * _SECONDS[unit] * _SECOND), 0
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is no time; write 2026-11-25, 2026-11-25T06:30, or an age such as 12h"
        ) from None
    ts = to_ts(found if found.tzinfo else found.replace(tzinfo=UTC))
    return ts, _DAY if _is_date(text) else 0


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
