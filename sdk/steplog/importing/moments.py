"""The times in a run log of the original, which are local and say no zone. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from steplog.events import MAX_TIMESTAMP
from steplog.importing.shape import RunLogMalformed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from steplog.importing.shape import Step, Work

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def moment(text: str | None) -> int | None:
    """Return microseconds since the epoch, or None where nothing is said.

    A time without a zone is taken for UTC, so that it is shown as it was written.

    Raises:
        RunLogMalformed: It is no time, or before 1970.
    """
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise RunLogMalformed(f"{text[:40]!r} is no time such as 2024-01-09 05:44:42") from None
    ts = ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
    if not 0 < ts <= MAX_TIMESTAMP:
        raise RunLogMalformed(f"{text[:40]!r} is a time before 1970, or after the year 9999")
    return ts


def all_moments(works: Iterable[Work]) -> Iterator[int]:
    """Return every time at which an attempt began or ended, of jobs and steps alone."""
    for work in works:
        for attempt in work.attempts:
            for text in (attempt.start_time, attempt.end_time):
                if (ts := moment(text)) is not None:
                    yield ts


def with_nested(steps: Iterable[Step]) -> Iterator[Step]:
    """Return the steps, and those in their branches."""
    for step in steps:
        yield step
        for branch in step.branches.values():
            yield from with_nested(branch.steps.values())
