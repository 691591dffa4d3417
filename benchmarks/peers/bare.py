"""What cannot be avoided: a bare `os.write` of the same bytes, and msgspec before it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.peers.values import LOSS, TEN, line

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.values import Tracker


def begin(folder: Path, setting: str) -> Tracker:
    """Begin with the bare write, or with msgspec before it."""
    return BareMsgspec(folder) if setting == "msgspec" else BareWrite(folder)


class BareWrite:
    """Appends the same line again and again."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._one, self._ten = line(1), line(10)

    def one(self, step: int) -> None:
        """Append the line of one value."""
        os.write(self._file, self._one)

    def ten(self, step: int) -> None:
        """Append the line of ten values."""
        os.write(self._file, self._ten)

    def finish(self) -> None:
        """Close the file."""
        os.close(self._file)


class LockedWrite(BareWrite):
    """Appends the same line under a lock, as whoever numbers the lines has to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lock = threading.Lock()

    def one(self, step: int) -> None:
        """Append the line of one value, nobody else meanwhile."""
        with self._lock:
            super().one(step)


class BareMsgspec:
    """Makes the line with msgspec, and appends it: no lock, no fork, no error is thought of."""

    def __init__(self, folder: Path) -> None:
        import msgspec

        class Track(msgspec.Struct, tag_field="t", tag="track"):
            w: str
            n: int
            ts: int
            step: int
            values: dict[str, Any]

        self._file = os.open(folder / "encoded", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._encode = msgspec.json.Encoder().encode
        self._event = Track

    def one(self, step: int) -> None:
        """Append the line of one value."""
        self._append(step, {"loss": LOSS})

    def ten(self, step: int) -> None:
        """Append the line of ten values."""
        self._append(step, TEN)

    def _append(self, step: int, values: dict[str, float]) -> None:
        event = self._event("9f3ac1b20d47", step, time.time_ns() // 1000, step, values)
        os.write(self._file, self._encode(event) + b"\n")

    def finish(self) -> None:
        """Close the file."""
        os.close(self._file)
