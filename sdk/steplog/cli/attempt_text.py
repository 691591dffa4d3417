"""The attempts of a task as text: a table of the latest, and numbers drawn together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steplog.cli.terminal import sanitise
from steplog.times import show_duration, show_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steplog.summaries import AttemptSummary

SHOWN: Final = 10
"""Of more attempts than that the latest are shown: a task may be entered for each batch."""

_HEADER: Final = ("  ATTEMPT", "STATUS", "STARTED", "DURATION", "MESSAGE")
_CHARACTERS: Final = 40
_SECONDS: Final = slice(19)


def attempt_rows(attempts: Sequence[AttemptSummary]) -> Iterator[tuple[str, ...]]:
    """Yield a header and a row for each of the latest attempts."""
    yield _HEADER
    if len(attempts) > SHOWN:
        yield (f"  1-{attempts[-SHOWN].number - 1}", "…")
    for attempt in attempts[-SHOWN:]:
        yield _row(attempt)


def ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers drawn together, such as `1-3, 7`; 0, no attempt, is a dash."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][0] and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = ", ".join(_span(first, last) for first, last in spans)
    return shown if len(shown) <= _CHARACTERS else f"{shown[: _CHARACTERS - 1]}…"


def _span(first: int, last: int) -> str:
    if first == last:
        return str(first) if first else "-"
    return f"{first}-{last}"


def _row(attempt: AttemptSummary) -> tuple[str, ...]:
    start, end = attempt.start_ts, attempt.end_ts
    duration = "-" if end is None else show_duration(start, end)
    started = show_time(start)[_SECONDS]
    return (
        f"  {attempt.number}",
        attempt.status,
        started,
        duration,
        sanitise(attempt.message),
    )
