"""The page of all answers, in Markdown: what was asked and reached first, then each question."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.frame.answer import Answer, Column, Goal, Measure, Row, Table

QUICK = "**Tried with tiny sizes: this says that it runs, and nothing about speed.**"


def page(answers: Iterable[Answer]) -> str:
    """Return the whole page; the same answers make the same page."""
    return "\n".join(_page(list(answers))) + "\n"


def number(value: float) -> str:
    """Write a number with three digits, or all of them before the point."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _page(answers: list[Answer]) -> Iterator[str]:
    yield "# Results\n"
    yield "Made by `make bench` from the files of `results/`; see [README.md](README.md) for how."
    yield "A measure is the median of its rounds, with the lowest and the highest in brackets.\n"
    if any(answer.is_quick for answer in answers):
        yield QUICK + "\n"
    yield "## What was asked, and what was reached\n"
    yield "| question | asked | limit | reached | |"
    yield "|---|---|---:|---:|---|"
    for answer in answers:
        for goal in answer.goals:
            yield f"| [{answer.title}](#{_anchor(answer)}) | {_goal(goal)} |"
    for answer in answers:
        yield from _section(answer)


def _goal(goal: Goal) -> str:
    limit = f"{'≤' if goal.at_most else '≥'} {_with_unit(goal.limit, goal.unit)}"
    reached = "not measured" if goal.reached is None else _with_unit(goal.reached, goal.unit)
    verdict = {True: "yes", False: "**no**", None: "-"}[goal.is_reached]
    note = f": {goal.note}" if goal.note else ""
    return f"{goal.asks} | {limit} | {reached} | {verdict}{note}"


def _section(answer: Answer) -> Iterator[str]:
    yield f"\n## {answer.number}. {answer.title}\n"
    yield f"{answer.question}\n"
    for paragraph in answer.text:
        yield f"{paragraph}\n"
    for plot in answer.plots:
        yield f"![{plot.title}](results/{answer.name}-{plot.name}.svg)\n"
    for table in answer.tables:
        yield from _table(table)
    yield f"{_where(answer)}"


def _table(table: Table) -> Iterator[str]:
    yield f"**{table.title}**\n"
    has_notes = any(row.note for row in table.rows)
    heads = ["", *map(_head, table.columns), *(["note"] if has_notes else [])]
    yield f"| {' | '.join(heads)} |"
    yield "|---|" + "---:|" * len(table.columns) + ("---|" if has_notes else "")
    for row in table.rows:
        yield f"| {' | '.join(_row(row, has_notes))} |"
    yield ""


def _head(column: Column) -> str:
    return f"{column.name}, {column.unit}" if column.unit else column.name


def _row(row: Row, has_notes: bool) -> list[str]:
    cells = [
        "-" if cell is None else cell if isinstance(cell, str) else _cell(cell)
        for cell in row.cells
    ]
    return [row.what, *cells, *([row.note] if has_notes else [])]


def _cell(measure: Measure) -> str:
    if measure.low is None or measure.high is None or measure.low == measure.high:
        return number(measure.value)
    return f"{number(measure.value)} ({number(measure.low)}..{number(measure.high)})"


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)} {unit}".rstrip()


def _where(answer: Answer) -> str:
    machine = answer.machine
    versions = ", ".join(f"{name} {version}" for name, version in answer.versions.items())
    return (
        f"<sub>{answer.date}, {answer.seconds:,.0f} s; {machine.cpu}, {machine.cores} cores, "
        f"{machine.memory_gb:g} GB, {machine.filesystem}, Linux {machine.kernel}, "
        f"Python {machine.python}; "
        f"load {machine.load_before:g} before, {machine.load_after:g} after"
        f"{'; ' if versions else ''}{versions}</sub>"
    )


def _anchor(answer: Answer) -> str:
    """Return what the heading of an answer is linked by."""
    heading = f"{answer.number}. {answer.title}".lower()
    return "".join(c for c in heading.replace(" ", "-") if c.isalnum() or c in "-_")
