"""What no notification told of: bytes of spools that only a sweep found."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping


class Missed:
    """Counts what is found by a sweep, and not told of before the next one.

    A notification may be on its way while a sweep looks: nothing counts before that long has
    passed. To be used from the event loop alone; any thread may read the number.

    Attributes:
        size_bytes: How many bytes were missed.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._found: dict[str, int] = {}

    def hear(self, run_ids: Iterable[str]) -> None:
        """Note that notifications tell of these runs."""
        for run_id in run_ids:
            self._found.pop(run_id, None)

    def find(self, left_bytes: Mapping[str, int], known: Container[str]) -> None:
        """Note what a sweep has found, and count what was found by the one before.

        Args:
            left_bytes: How much is not folded, by run.
            known: The runs of which that was known before, or that cannot be folded.
        """
        self.size_bytes += sum(self._found.values())
        self._found = {run: size for run, size in left_bytes.items() if run not in known}
