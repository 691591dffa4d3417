"""Folds all that the spools of a home have, as a daemon does, but within this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steplogd.folding.line import Line


def fold_all(line: Line) -> None:
    """Fold and commit, pass after pass, until nothing of what is there now is left."""
    left = line.spools.grown()
    while left:
        done = line.run(left)
        left = [*done.skipped, *done.unfinished]
