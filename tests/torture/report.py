"""The report of the torture house: a table for people, and the same for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steplog.cli.terminal import align

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.torture.torture import Outcome

HEAD = ("TORTURE", "TRIED", "CALLS", "LOST", "TWICE", "SECONDS", "")


def table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Lay out what was tried and what was found, with what failed below it."""
    outcomes = list(outcomes)
    yield from align([HEAD, *(_row(outcome) for outcome in outcomes)])
    for outcome in outcomes:
        yield from (f"{outcome.name}: {note}" for note in outcome.notes)
    for outcome in outcomes:
        if outcome.failure:
            yield f"\nFAILED {outcome.name}\n{outcome.failure}"
        elif outcome.skipped:
            yield f"\nskipped {outcome.name}: {outcome.skipped}"


def markdown(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Lay out the same as a table for a README: a line for each torture."""
    yield "| what was done | times | calls | lost | twice |"
    yield "|---|---|---|---|---|"
    for outcome in outcomes:
        faults = ", ".join(f"{fault} ({count:,})" for fault, count in outcome.tried.items())
        found = outcome.verdict
        counts = f"{sum(outcome.tried.values()):,} | {found.calls:,} | {found.lost} | {found.twice}"
        yield f"| {outcome.name}: {faults} | {counts} |"


def _row(outcome: Outcome) -> tuple[str, ...]:
    found = outcome.verdict
    state = "FAILED" if outcome.failure else "skipped" if outcome.skipped else "ok"
    counts = f"{found.calls:,}", f"{found.lost:,}", f"{found.twice:,}"
    return (
        outcome.name,
        f"{sum(outcome.tried.values()):,}",
        *counts,
        f"{outcome.seconds:.0f}",
        state,
    )
