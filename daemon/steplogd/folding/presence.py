"""Looks whether anybody is in a run, from its folded state and from its spool."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, Literal

from steplogd.intake.tail import NotASpool, has_writer, size_of

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.core.state import RunState

Presence = Literal["unfolded", "somebody", "nobody", "over"]
"""`unfolded`: first there is more to fold. `over`: visitors alone, and silent for long enough."""

_OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What says nothing of a spool's writers, and soon may be otherwise."""


def look(
    path: Path, read_to: int, state: RunState, wall_now: float, idle_seconds: float
) -> Presence:
    """Tell who is in a run.

    Args:
        path: Its spool.
        read_to: How much of that was read.
        state: What was folded of it.
        wall_now: The time of day, in seconds since the epoch.
        idle_seconds: For how long a run is silent where nothing better tells its end.
    """
    try:
        size, modified_ns = size_of(path)
    except (FileNotFoundError, NotASpool):
        return "nobody"  # and nobody can come back to it
    except OSError:
        return "somebody"  # perhaps; a folder that cannot be read for now kills no run
    if size > read_to:
        return "unfolded"
    # A clock that was set back must not keep a run open until it has caught up.
    is_silent = abs(wall_now - modified_ns / 1e9) >= idle_seconds
    if not state.has_members():
        return "over" if is_silent else "somebody"
    if state.is_anybody_in() and _lives(path, is_silent):
        return "somebody"
    return "nobody"


def _lives(path: Path, is_silent: bool) -> bool:
    """Tell whether a writer lives; by what it writes, where there are no locks to tell it."""
    try:
        return has_writer(path)
    except (FileNotFoundError, NotASpool):
        return False
    except OSError as error:
        return error.errno in _OUT_OF_DESCRIPTORS or not is_silent
