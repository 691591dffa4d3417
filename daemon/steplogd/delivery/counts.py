"""What one backend was given since the daemon started: plain numbers, for whoever wants to know."""

from __future__ import annotations

import threading


class Counts:
    """Counts what became of what was sent; safe to use from any thread.

    Attributes:
        sent: Observations that the backend took.
        refused: Observations, and states of runs, that it refused.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.refused = 0
        self._lock = threading.Lock()

    def add(self, *, sent: int = 0, refused: int = 0) -> None:
        """Count further ones."""
        with self._lock:
            self.sent += sent
            self.refused += refused
