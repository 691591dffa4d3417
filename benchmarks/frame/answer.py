"""What was measured for one question: small, frozen, and all that a page or a plot is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

# A summary, never samples: an answer that is larger has kept too much.
LARGEST_BYTES: Final = 60_000


class Measure(msgspec.Struct, frozen=True, array_like=True):
    """A number, and between which ones it lay over the rounds; as JSON, a list of these four.

    Attributes:
        value: The median of the rounds.
        low: The lowest round, if there was more than one.
        high: The highest round.
        rounds: How many there were.
    """

    value: float
    low: float | None = None
    high: float | None = None
    rounds: int = 1


class Column(msgspec.Struct, frozen=True):
    """What a column holds, and in which unit: "µs", "%", "times", or "" for a count."""

    name: str
    unit: str = ""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was measured of one thing; where a cell has no measure, the note says why."""

    what: str
    cells: tuple[Measure | str | None, ...]
    note: str = ""


class Table(msgspec.Struct, frozen=True):
    """Things beside one another."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


class Goal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked for, and what was reached.

    Attributes:
        asks: In words, without the limit.
        limit: At most, or at least, this is asked for.
        at_most: Which of both.
        unit: Of limit and reached.
        reached: Nothing if it could not be measured.
        note: Where it is not reached: what the limit is.
    """

    asks: str
    limit: float
    at_most: bool
    unit: str
    reached: float | None
    note: str = ""

    @property
    def is_reached(self) -> bool | None:
        """Whether, or nothing if it was not measured."""
        if self.reached is None:
            return None
        return self.reached <= self.limit if self.at_most else self.reached >= self.limit


class Bar(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing of a bar plot."""

    what: str
    measure: Measure
    is_ours: bool = False


class Bars(msgspec.Struct, frozen=True, tag="bars"):
    """A plot of things beside one another; `log` for those that lie decades apart."""

    name: str
    title: str
    unit: str
    bars: tuple[Bar, ...]
    log: bool


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a plot: points of x and y."""

    what: str
    points: tuple[tuple[float, float], ...]
    is_ours: bool = False


class Lines(msgspec.Struct, frozen=True, tag="lines"):
    """A plot of how something grows; `log` applies to both axes."""

    name: str
    title: str
    x: Column
    y: Column
    series: tuple[Series, ...]
    log: bool


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured, and how busy that was: the load is runnable tasks, over a minute."""

    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    filesystem: str
    python: str
    load_before: float
    load_after: float


class Answer(msgspec.Struct, frozen=True):
    """One question, answered.

    Attributes:
        number: Where it stands on the page.
        name: Of its file, here and in `results/`.
        is_quick: Tried with tiny sizes: says that it runs, and nothing about speed.
        seconds: How long measuring took.
        versions: Of every package that was measured.
        text: How it was measured, and what to make of it, a paragraph each.
    """

    number: int
    name: str
    title: str
    question: str
    date: str
    is_quick: bool
    seconds: float
    machine: Machine
    versions: dict[str, str]
    goals: tuple[Goal, ...]
    tables: tuple[Table, ...]
    plots: tuple[Bars | Lines, ...]
    text: tuple[str, ...]


def write(answer: Answer, folder: Path) -> Path:
    """Write an answer as JSON that a diff shows well."""
    text = msgspec.json.format(msgspec.json.encode(answer), indent=1)
    if len(text) > LARGEST_BYTES:
        raise ValueError(f"the answer of {answer.name} takes {len(text):,} bytes: keep less of it")
    path = folder / f"{answer.name}.json"
    path.write_bytes(text + b"\n")
    return path


def read_all(folder: Path) -> list[Answer]:
    """Read the answers of a folder, in their order on the page."""
    found = [msgspec.json.decode(path.read_bytes(), type=Answer) for path in folder.glob("*.json")]
    return sorted(found, key=lambda answer: answer.number)
