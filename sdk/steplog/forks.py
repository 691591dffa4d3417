"""What a forked child has to renew before it goes on: whatever its parent still uses."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """Something that a forked child finds in its memory, and must not use as its parent does."""

    def become_copy(self) -> None:
        """Go on in the child; called there before any other code runs."""
        ...


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()
_is_watching = False


def watch(inherited: Inherited) -> None:
    """Tell an object, for as long as it lives, when it finds itself in a forked child."""
    global _is_watching
    if not _is_watching:
        _is_watching = True
        os.register_at_fork(after_in_child=_tell)
    _inherited.add(inherited)


def _tell() -> None:
    for inherited in list(_inherited):
        inherited.become_copy()
