"""Runs side by side as lines of text: a column for each run, as many as fit beside one another."""

from __future__ import annotations

from itertools import combinations, groupby
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from steplog.cli.run_fields import duration_text, status_text
from steplog.cli.terminal import align, paint, sanitise, show_short, show_value
from steplog.comparison import differ, is_same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from steplog.comparison import Compared, Comparison

_MARK: Final = "* "
_NO_MARK: Final = "  "
_GAP: Final = 2  # spaces between columns, as `align` lays them out
_YELLOW: Final = 33
_CHARACTERS: Final = 24
_CONTEXT: Final = 8  # characters that show where two long texts part
_COMPARED: Final = 10_000  # characters in which long texts are looked through for that
_NONE: Final = "-"
_FIGURES: Final = ("last", "min", "max", "steps")


class _Row(msgspec.Struct, frozen=True):
    """A line of the table: what it shows, and a cell for each run; a heading has no cells."""

    name: str
    figure: str = ""
    cells: list[str] = []
    differs: bool = False

    def label(self) -> tuple[str, str]:
        return f"{_MARK if self.differs else _NO_MARK}{self.name}", self.figure

    def part(self, start: int, end: int) -> tuple[str, ...]:
        return *self.label(), *self.cells[start:end]


def table(
    found: Comparison, width: int | None, has_colours: bool, is_differing: bool
) -> Iterator[str]:
    """Yield the lines, safe for a terminal.

    Args:
        found: The runs.
        width: Characters in a line; runs that do not fit follow below. None is as wide as it gets.
        has_colours: Colour the lines of what differs, besides marking them.
        is_differing: Leave out the lines of what does not differ, other than of the run as a whole.
    """
    rows = [*_head(found), *_parameters(found.parameters), *_metrics(found.metrics, is_differing)]
    if is_differing and not found.parameters and not found.metrics:
        rows += [_Row(""), _Row("no parameter and no metric differs")]
    for number, (start, end) in enumerate(_blocks(rows, len(found.runs), width)):
        if number:
            yield ""
        lines = align([row.part(start, end) for row in rows if row.cells])
        for row in rows:
            line = next(lines) if row.cells else row.name
            yield paint(line, _YELLOW) if has_colours and row.differs else line


def _blocks(rows: list[_Row], count: int, width: int | None) -> Iterator[tuple[int, int]]:
    """Yield from which to before which run they stand beside one another; each at least one."""
    if width is None:
        yield 0, count
        return
    names, figures, *columns = zip(*(row.part(0, count) for row in rows if row.cells), strict=True)
    widths = [max(map(len, column)) + _GAP for column in columns]
    room = width - max(map(len, names)) - max(map(len, figures)) - _GAP
    start = 0
    for end in range(1, count + 1):
        if end == count or sum(widths[start : end + 1]) > room:
            yield start, end
            start = end


def _head(found: Comparison) -> Iterator[_Row]:
    yield _Row("run", "", [run.run_id for run in found.runs])
    yield _of_runs("status", [status_text(run) for run in found.runs])
    yield _of_runs("tag", [sanitise(run.tag) or _NONE for run in found.runs])
    yield _of_runs("duration", [duration_text(run) or _NONE for run in found.runs])


def _of_runs(name: str, cells: list[str]) -> _Row:
    return _Row(name, "", cells, len(set(cells)) > 1)


def _parameters(parameters: list[Compared]) -> Iterator[_Row]:
    for task, of_task in groupby(parameters, key=lambda one: one.task):
        yield from _heading("parameters", task)
        for one in of_task:
            yield _Row(sanitise(one.name), "", _cells(one.values), one.differs)


def _metrics(metrics: list[Compared], is_differing: bool) -> Iterator[_Row]:
    for task, of_task in groupby(metrics, key=lambda one: one.task):
        yield from _heading("metrics", task)
        for one in of_task:
            yield from (row for row in _figures(one) if row.differs or not is_differing)


def _heading(what: str, task: tuple[str, ...]) -> Iterator[_Row]:
    yield _Row("")
    yield _Row(f"{what} of task {sanitise('.'.join(task))}" if task else what)


def _figures(metric: Compared) -> Iterator[_Row]:
    """Yield a line for each figure that says more than the last value does."""
    there = [figures for figures in metric.values if figures is not UNSET]
    is_single = all(figures["steps"] == 1 for figures in there)
    for figure in _FIGURES[:1] if is_single else _FIGURES:
        values = [_figure(one, figure) for one in metric.values]
        if any(value is not UNSET for value in values):
            yield _Row(sanitise(metric.name), figure, _cells(values), differ(values))


def _figure(figures: Any, name: str) -> Any:
    """Return one of a run's figures; UNSET where it has none, as a text has no smallest number."""
    if figures is UNSET or (figures[name] is None and name != _FIGURES[0]):
        return UNSET
    return figures[name]


def _cells(values: Sequence[Any]) -> list[str]:
    """Return the values as text, in short where that tells apart what is not the same."""
    short = [_cell(show_short, value, _CHARACTERS) for value in values]
    pairs = combinations(range(len(values)), 2)
    if any(short[i] == short[j] and not is_same(values[i], values[j]) for i, j in pairs):
        return _from_where_they_part([_cell(show_value, value, _COMPARED) for value in values])
    return short


def _from_where_they_part(cells: list[str]) -> list[str]:
    """Cut texts that are too long so that what is not the same in them can be seen."""
    start = max(0, _shared_length([cell for cell in cells if cell != _NONE]) - _CONTEXT)
    if start == 0 or max(map(len, cells)) <= _CHARACTERS:
        return [_cut(cell) for cell in cells]
    return [cell if cell == _NONE else _cut(f"…{cell[start:]}") for cell in cells]


def _shared_length(texts: list[str]) -> int:
    """Return how many characters the texts begin with alike."""
    columns = enumerate(zip(*texts, strict=False))
    parting = (i for i, characters in columns if len(set(characters)) > 1)
    return next(parting, min(map(len, texts)))


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"


def _cell(show: Callable[[Any, int], str], value: Any, limit: int) -> str:
    return _NONE if value is UNSET else show(value, limit)
