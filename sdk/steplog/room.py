"""Room: how much may still be appended, so that the last of the disk stays the task's own."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from steplog import losses
from steplog.errors import NoRoom
from steplog.events import MAX_LINE_BYTES, End, Event, Join, Leave, Track
from steplog.interrupts import comes_from_signal_handler

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE: Final = "STEPLOG_MIN_FREE"
"""How many bytes of the disk are left to others; 0 leaves none."""

MAX_MIN_FREE: Final = 64 * 1024 * 1024
"""As much as is left of a large disk: a checkpoint of a small model, say."""

PIECE: Final = 64
"""The part of what is free that one writer takes without another look: as many at once can be, and
all of them together leave the rest alone."""

LOOK_AGAIN_SECONDS: Final = 0.1
"""For how long a disk that was found short is not looked at again, however often somebody asks."""

_SHARE_OF_SIZE: Final = 20
_LEAST_LAST_WORDS_BYTES: Final = 4096
_LONGEST_NUMBER: Final = 18
_VERY_MANY: Final = 2**63

_now: Final = time.monotonic
_IS_ALWAYS_TOLD: Final = (Join, Leave)


class Room:
    """Hands out what a writer may append before the last `min_free` of the disk begins.

    Beyond that go only the few lines without which a run would look as if it had never begun or had
    been killed, and what was lost would not be told: `join` and `leave`, and a bounded number of
    `end`, each with the lines that must stand before it.
    """

    __slots__ = ("_last_words", "_look_again", "_min_free")

    def __init__(self) -> None:
        self._min_free: int | None = None  # not looked at yet
        self._look_again = 0.0
        self._last_words = 0

    def claim(self, fd: int, size: int, kind: type[Event] = Track) -> int:
        """Take the room for a line, and return how many bytes may follow without another look.

        Args:
            fd: Of the file that it is appended to.
            size: Of the line, in bytes.
            kind: Of the event that is to be told by it.

        Raises:
            NoRoom: The disk is too full for an event of this kind.
        """
        if self._min_free is None:
            self._min_free = min_free(fd)
            self._renew_last_words()
        if self._min_free == 0:
            return MAX_LINE_BYTES
        if beyond := self._beyond(fd, size):
            self._renew_last_words()
            return min((beyond - size) // PIECE, MAX_LINE_BYTES)
        self._use_reserve(size, kind)
        return 0

    def _beyond(self, fd: int, size: int) -> int:
        """Return what is free beyond the last `min_free`; 0 when that is less than is needed."""
        if self._look_again and _now() < self._look_again:
            return 0
        beyond = free_bytes(fd) - (self._min_free or 0)
        is_enough = beyond >= size
        self._look_again = 0.0 if is_enough else _now() + LOOK_AGAIN_SECONDS
        return beyond if is_enough else 0

    def _renew_last_words(self) -> None:
        self._last_words = max((self._min_free or 0) // PIECE, _LEAST_LAST_WORDS_BYTES)

    def _use_reserve(self, size: int, kind: type[Event]) -> None:
        if kind in _IS_ALWAYS_TOLD:
            return
        if kind is not End or size > self._last_words:
            raise NoRoom(self._min_free or 0)
        self._last_words -= size


def min_free(where: int | Path) -> int:
    """Return how many bytes of a disk are left to others: what the environment says, or a default.

    Args:
        where: A descriptor or a path on that disk.
    """
    if text := os.environ.get(VARIABLE):
        if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER:
            return int(text)
        losses.warn_once(
            f"{VARIABLE} is no number of bytes ({text[:80]!r}), and the default holds; "
            "write 67108864, say, or 0 to leave nothing free."
        )
    disk = _look_at(where)
    return min(MAX_MIN_FREE, disk.f_blocks * disk.f_frsize // _SHARE_OF_SIZE) if disk else 0


def free_bytes(where: int | Path) -> int:
    """Return how many bytes of a disk this user may still write; very many where nobody knows."""
    disk = _look_at(where)
    return disk.f_bavail * disk.f_frsize if disk and disk.f_blocks else _VERY_MANY


def _look_at(where: int | Path) -> os.statvfs_result | None:
    try:
        return os.statvfs(where)
    except OSError as error:  # a file system that does not say; a write will
        if comes_from_signal_handler(error):
            raise
        return None
