"""A pass: one piece of work of the line, over some spools."""

from __future__ import annotations

import msgspec


class Pass(msgspec.Struct):
    """What one pass did.

    Attributes:
        advanced: Numbers of the runs whose log grew.
        late: Whether one of them had ended before.
        skipped: Runs that it had no room for; they come first in the next one.
        unfinished: Runs with more bytes to fold.
    """

    advanced: set[int] = set()
    late: bool = False
    skipped: list[str] = []
    unfinished: list[str] = []

    def add(self, other: Pass) -> None:
        """Take what another one did for this one's."""
        self.advanced |= other.advanced
        self.late |= other.late
        self.skipped += other.skipped
        self.unfinished += other.unfinished
