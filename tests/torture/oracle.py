"""The oracle: what a writer was given to track and which calls returned, told outside steplog."""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_COUNTERS: Final = struct.Struct("=qqqq")
_ISSUED: Final = 0
_RETURNED: Final = 8
_STOP: Final = 16
_REFUSED: Final = 24
_ONE: Final = struct.Struct("=q")

SMALL_EVERY: Final = 5
LARGE_CHARACTERS: Final = 240_000
"""Makes a line of nearly the largest size, which a kill may well find half written."""


class Oracle:
    """Counters in a file that is mapped into memory: they outlive the process, and cost no call.

    A writer's calls are numbered from 0, and what each one tracks follows from its number; so two
    counters say it all. Those below `returned` have returned; the one at `returned` may be under
    way when `issued` is one more; no other was ever issued.

    Args:
        path: The file; made when absent.
    """

    def __init__(self, path: Path) -> None:
        with path.open("ab") as file:
            if file.tell() == 0:
                file.write(bytes(_COUNTERS.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _COUNTERS.size)

    @property
    def issued(self) -> int:
        """How many calls were begun."""
        return self._get(_ISSUED)

    @issued.setter
    def issued(self, count: int) -> None:
        _ONE.pack_into(self._memory, _ISSUED, count)

    @property
    def returned(self) -> int:
        """How many calls have returned."""
        return self._get(_RETURNED)

    @returned.setter
    def returned(self, count: int) -> None:
        _ONE.pack_into(self._memory, _RETURNED, count)

    @property
    def refused(self) -> int:
        """How often a call raised, and was made again."""
        return self._get(_REFUSED)

    @refused.setter
    def refused(self, count: int) -> None:
        _ONE.pack_into(self._memory, _REFUSED, count)

    @property
    def is_over(self) -> bool:
        """Whether the writer is asked to come to its end."""
        return bool(self._get(_STOP))

    def end(self) -> None:
        """Ask the writer to come to its end."""
        _ONE.pack_into(self._memory, _STOP, 1)

    def _get(self, place: int) -> int:
        (count,) = _ONE.unpack_from(self._memory, place)
        return int(count)


def value_of(kind: str, number: int) -> Any:
    """Return what the call of this number tracks.

    Args:
        kind: `numbers` that every tracker takes, `mixed` types, or `large` lines, few of them
            small.
        number: The call's.
    """
    if kind == "numbers":
        return number / 7
    if kind == "large":
        return "x" * LARGE_CHARACTERS + str(number) if number % SMALL_EVERY else number
    mixed = (
        number / 7,
        number,
        float("nan") if number % 2 else float("-inf"),
        f"text {number}\n\x1b",
        {"nested": [number, None, True, {"1": str(number)}]},
        2**70 + number,
        -number * 1e300,
    )
    return mixed[number % len(mixed)]
