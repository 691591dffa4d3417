"""Times and durations as the run log prints them: UTC, to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_ts(time: datetime) -> int:
    """Return a time that carries its offset as microseconds since the epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def show_time(ts: int) -> str:
    """Return microseconds since the epoch as UTC, such as `2024-01-09 05:44:42.841295`.

    A time beyond the year 9999, which only another program's line can hold, stays the number.
    """
    try:
        time = _EPOCH + timedelta(microseconds=ts)
    except OverflowError:
        return str(ts)
    return time.replace(tzinfo=None).isoformat(" ", "microseconds")


def show_duration(start_ts: int, end_ts: int) -> str:
    """Return the time between two, such as `0:00:00.008643`; a clock set back makes it zero."""
    return str(timedelta(microseconds=max(0, end_ts - start_ts)))
