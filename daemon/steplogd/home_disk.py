"""The disk of a home: whether run logs may still grow, as its last `min_free` is left to tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steplog.room import free_bytes, min_free

if TYPE_CHECKING:
    from pathlib import Path


class HomeDisk:
    """Looks at the disk of a home; safe to use from any thread.

    What grows with what is tracked, run logs and documents, waits while it is short. Cursors and
    the ends of runs do not: they take little, and what is folded can still be sent.

    Attributes:
        min_free: How many bytes of it are left to tasks.

    Args:
        home: The home, which is there.
        min_free_bytes: How much of it is left to tasks; None for what they leave themselves.
    """

    def __init__(self, home: Path, min_free_bytes: int | None = None) -> None:
        self._home = home
        self.min_free = self.min_free_of(min_free_bytes)

    def min_free_of(self, configured: int | None) -> int:
        """Return how many bytes are left to tasks where this is configured."""
        return min_free(self._home) if configured is None else configured

    def free_bytes(self) -> int:
        """Return how many bytes of it are left; very many where nobody knows."""
        return free_bytes(self._home)

    def shortage(self) -> str:
        """Say in one sentence, always the same, why run logs may not grow; "" while they may."""
        if free_bytes(self._home) >= self.min_free:
            return ""
        return (
            f"the disk of {self._home} is full but for the last {self.min_free:,} bytes "
            "(min_free), which are left to tasks: free some, or set min_free to fewer"
        )
