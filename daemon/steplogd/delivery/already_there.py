"""What a tracker holds already of a run whose cursor is in doubt, so that it is not sent again.

A tracker takes a run's observations in the order of the run log. So of all that are equal but for
their time, it holds the first ones; how many is what has to be read. Times do not count, as a line
that says none has that of its arrival, and that is another one when its spool is folded again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from steplogd.delivery.contract import MergingSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from steplogd.delivery.contract import Observation, Point, ReadableSession

_OF_LATE: Final = 10_000  # equal points of one moment stand near to one another
_BUCKETS: Final = 256  # each is sorted by itself, which takes many times its room for a moment


class AlreadyThere:
    """Knows what of a run a tracker held when it was asked, and what of that was met since.

    It takes 12 bytes for each point. A tracker that merges equal points of one moment has fewer
    than were sent: one that is equal to another of its moment, which is there, is there with it.

    Args:
        session: The run's counterpart, which is read here.
        before: The observations that need not be asked for, from the first one on.

    Raises:
        Unavailable: It cannot be read now.
        Refused: It cannot be read at all.
    """

    def __init__(self, session: ReadableSession, before: Iterable[Observation]) -> None:
        self._session = session
        self._merges = isinstance(session, MergingSession)
        self._met_of_late: set[Point] = set()
        self._single: set[tuple[str, str, str]] = set()
        found = [array("Q") for _ in range(_BUCKETS)]
        for point in session.held():
            if point.kind == "metric":
                number = _number_of(point)
                found[number % _BUCKETS].append(number)
            else:
                self._single.add((point.kind, point.name, point.value))
        self._numbers = [array("Q", sorted(bucket)) for bucket in found]
        self._met = [array("I", bytes(4 * len(one))) for one in found]
        if any(found):
            for observation in before:
                self._is_there(observation)

    def missing(self, batch: Sequence[Observation]) -> list[Observation]:
        """Return those of a batch that must be sent; to be asked for each batch once, in order."""
        return [observation for observation in batch if not self._is_there(observation)]

    def _is_there(self, observation: Observation) -> bool:
        """Tell whether all points of an observation are held, and count them as met."""
        is_there = True
        for point in self._session.expected((observation,)):
            is_there &= self._meet(point) or point in self._met_of_late
        return is_there

    def _meet(self, point: Point) -> bool:
        if point.kind != "metric":
            return (point.kind, point.name, point.value) in self._single
        number = _number_of(point)
        bucket = number % _BUCKETS
        numbers, met = self._numbers[bucket], self._met[bucket]
        first = bisect_left(numbers, number)
        if first == len(numbers) or numbers[first] != number:
            return False
        at = first + met[first]  # equal ones stand side by side; the first one counts for all
        if at == len(numbers) or numbers[at] != number:
            return False
        met[first] += 1
        if self._merges:
            if len(self._met_of_late) >= _OF_LATE:
                self._met_of_late.clear()
            self._met_of_late.add(point)
        return True


def _number_of(point: Point) -> int:
    """Return 64 bits that stand for a metric's point, whatever its time."""
    return hash(f"{point.name}\0{point.step}\0{point.value}") & 0xFFFF_FFFF_FFFF_FFFF
