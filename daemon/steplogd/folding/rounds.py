"""Whose presence is looked at when: those who were heard of at once, all others in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

CHECKS_PER_ROUND: Final = 120
"""In how many checks everybody has a turn. To ask for the locks of a thousand runs in each check
takes a tenth of a slow core; the kernel reports a closed spool by itself, but not reliably."""


class Rounds:
    """Goes round the open runs; to be used by one thread at a time."""

    def __init__(self) -> None:
        self._heard: set[str] = set()
        self._heard_before: set[str] = set()
        self._waiting: list[str] = []
        self._share = 0

    def hear(self, run_ids: Iterable[str]) -> None:
        """Note that something happened to these spools: they are due in the next two checks.

        Two, for the kernel tells that a spool is closed a moment before it frees the lock.
        """
        self._heard.update(run_ids)

    def due(self, open_runs: Collection[str]) -> set[str]:
        """Return who is to be looked at in the check that begins."""
        due = self._heard | self._heard_before
        self._heard, self._heard_before = set(), self._heard
        if not self._waiting:
            self._waiting = list(open_runs)
            self._share = -(-len(self._waiting) // CHECKS_PER_ROUND)
        due.update(self._waiting[: self._share])
        del self._waiting[: self._share]
        return due
