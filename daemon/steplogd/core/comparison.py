"""Compares what a tracker should hold of a run with what it holds, point by point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Place(Protocol):
    """What a point says of itself; points are equal when all of it is. See the contract."""

    @property
    def kind(self) -> str:
        """What kind of thing it is; a `metric` alone has many values under one name."""

    @property
    def name(self) -> str:
        """What the tracker calls it."""

    @property
    def step(self) -> int:
        """Its step."""

    @property
    def ts(self) -> int:
        """Its time."""

    @property
    def value(self) -> str:
        """Its value."""


P = TypeVar("P", bound=Place)


class Mismatch(msgspec.Struct, Generic[P], frozen=True):
    """One point that is missing, one that is too many, or both where one stands for the other.

    Attributes:
        expected: What should be there; None when nothing should.
        found: What is there instead; None when nothing is.
        position: Where the expected one comes from in the run log; 0 for none.
    """

    expected: P | None
    found: P | None
    position: int = 0


class Comparison(Generic[P]):
    """The comparison of one run: first all that is expected, then all that is held.

    Only the names of what is expected count; what else is held is somebody else's. Equal points
    are one, on either side. It keeps each expected point until the end, and of those that are held
    the surplus alone.
    """

    def __init__(self) -> None:
        self._missing: dict[P, int] = {}
        self._met: set[P] = set()
        self._surplus: dict[P, None] = {}
        self._names: set[tuple[str, str]] = set()
        self._single: dict[tuple[str, str], P] = {}

    @property
    def met(self) -> int:
        """How many of the expected points are held."""
        return len(self._met)

    def expect(self, points: Iterable[P], position: int = 0) -> None:
        """Add what should be held, from a position of the run log."""
        for point in points:
            self._missing.setdefault(point, position)
            self._names.add((point.kind, point.name))

    def hold(self, point: P) -> None:
        """Add what is held."""
        if point.kind != "metric":
            self._single[point.kind, point.name] = point
        if self._missing.pop(point, None) is not None:
            self._met.add(point)
        elif point not in self._met and (point.kind, point.name) in self._names:
            self._surplus[point] = None

    def excuse(self, points: Iterable[P]) -> None:
        """Take away what may be held already, though it need not be."""
        for point in points:
            self._surplus.pop(point, None)

    def forgive_times(self, last: int) -> None:
        """Take points for equal that differ in their time alone, those expected up to a position.

        Then a point that is too many at one time may be that of another, too.
        """
        if not last or not self._surplus:
            return
        there = {_rest(point) for point in self._surplus}
        for point, position in list(self._missing.items()):
            if position <= last and _rest(point) in there:
                del self._missing[point]
                self._met.add(point)
        met = {_rest(point) for point in self._met}
        self._surplus = {point: None for point in self._surplus if _rest(point) not in met}

    def mismatches(self) -> Iterator[Mismatch[P]]:
        """Say what differs, in the order of the run log, then what is too many; to be asked once.

        A point that is missing is paired with one that is too many at the same name and step, of
        the same time where there is one.
        """
        by_step: dict[tuple[str, str, int], list[P]] = {}
        for point in self._surplus:
            by_step.setdefault((point.kind, point.name, point.step), []).append(point)
        for point, position in self._missing.items():
            found = self._counterpart(point, by_step)
            if found is not None:
                self._surplus.pop(found, None)
            yield Mismatch(point, found, position)
        for point in self._surplus:
            yield Mismatch(None, point)

    def _counterpart(self, point: P, by_step: dict[tuple[str, str, int], list[P]]) -> P | None:
        if point.kind != "metric":
            return self._single.get((point.kind, point.name))
        there = by_step.get((point.kind, point.name, point.step), [])
        if not there:
            return None
        nearest = min(there, key=lambda found: abs(found.ts - point.ts))
        there.remove(nearest)
        return nearest


def _rest(point: Place) -> tuple[str, str, int, str]:
    return point.kind, point.name, point.step, point.value
