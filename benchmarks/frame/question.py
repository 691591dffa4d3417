"""A question as a program: it is measured, and the answer written, in a process of its own."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from benchmarks.frame import machine
from benchmarks.frame.answer import (
    Answer,
    Bar,
    Bars,
    Column,
    Goal,
    Lines,
    Measure,
    Row,
    Series,
    Table,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

RESULTS: Final = Path(__file__).parents[1] / "results"


class Notebook:
    """What a question writes down while it measures.

    Args:
        is_quick: Only try whether it runs: tiny sizes.
    """

    def __init__(self, is_quick: bool) -> None:
        self.is_quick = is_quick
        self.versions: dict[str, str] = {}
        self.goals: list[Goal] = []
        self.tables: list[Table] = []
        self.plots: list[Bars | Lines] = []
        self.texts: list[str] = []

    def size(self, full: T, quick: T) -> T:
        """Return the size to measure with."""
        return quick if self.is_quick else full

    def say(self, sentence: str) -> None:
        """Tell whoever waits what is measured now."""
        print(f"  {sentence}", file=sys.stderr, flush=True)

    def version(self, *packages: str) -> None:
        """Note which versions of packages of this environment are measured."""
        for package in packages:
            self.versions[package] = importlib.metadata.version(package)

    def text(self, paragraph: str) -> None:
        """Say how something was measured, or what to make of it (Markdown)."""
        self.texts.append(paragraph)

    def table(self, title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Row]) -> None:
        """Add a table; columns are pairs of name and unit, a row has a cell for each."""
        self.tables.append(Table(title, tuple(Column(*pair) for pair in columns), tuple(rows)))

    def at_most(
        self, asks: str, limit: float, unit: str, reached: float | None, note: str = ""
    ) -> None:
        """Add a goal that is reached at or below a limit."""
        self.goals.append(Goal(asks, limit, True, unit, reached, note))

    def at_least(
        self, asks: str, limit: float, unit: str, reached: float | None, note: str = ""
    ) -> None:
        """Add a goal that is reached at or above a limit."""
        self.goals.append(Goal(asks, limit, False, unit, reached, note))

    def bars(
        self,
        name: str,
        title: str,
        unit: str,
        bars: Iterable[tuple[str, Measure]],
        log: bool = False,
    ) -> None:
        """Add a plot of things beside one another; what is called steplog… is ours."""
        found = tuple(Bar(what, one, what.startswith("steplog")) for what, one in bars)
        self.plots.append(Bars(name, title, unit, found, log))

    def lines(
        self,
        name: str,
        title: str,
        x: tuple[str, str],
        y: tuple[str, str],
        series: dict[str, list[tuple[float, float]]],
        log: bool = True,
    ) -> None:
        """Add a plot of how something grows; what is called steplog… is ours."""
        found = tuple(
            Series(what, tuple(points), what.startswith("steplog"))
            for what, points in series.items()
        )
        self.plots.append(Lines(name, title, Column(*x), Column(*y), found, log))


def ask(number: int, title: str, question: str, measure: Callable[[Notebook], None]) -> None:
    """Measure as the command line says, and write `results/<name of the file>.json`."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--quick", action="store_true", help="only try whether it runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write to")
    arguments = parser.parse_args()
    notebook = Notebook(arguments.quick)
    load, start = os.getloadavg()[0], time.monotonic()
    measure(notebook)
    answer = Answer(
        number=number,
        name=Path(sys.argv[0]).stem,
        title=title,
        question=question,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        is_quick=notebook.is_quick,
        seconds=round(time.monotonic() - start, 1),
        machine=machine.describe(load),
        versions=dict(sorted(notebook.versions.items())),
        goals=tuple(notebook.goals),
        tables=tuple(notebook.tables),
        plots=tuple(notebook.plots),
        text=tuple(notebook.texts),
    )
    arguments.results.mkdir(parents=True, exist_ok=True)
    write(answer, arguments.results)
