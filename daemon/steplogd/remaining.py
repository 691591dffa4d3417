"""What a daemon, or all of its trackers, have left to do."""

from __future__ import annotations

import msgspec

from steplogd.store.cursors import Backlog


class Remaining(msgspec.Struct, frozen=True):
    """What is left to do.

    Attributes:
        spool_bytes: Not folded yet.
        unreadable: Why a spool cannot be folded, by run id.
        open_runs: Runs that have not ended.
        leaving: Whether one of them is about to.
        backends: Each backend's backlog.
    """

    spool_bytes: int
    unreadable: dict[str, str]
    open_runs: int
    leaving: bool
    backends: list[Backlog]
