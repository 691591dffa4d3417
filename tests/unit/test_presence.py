"""Presence: who is in a run, where that cannot be told just now."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from steplogd.folding.presence import look
from tests.lines import Scribe, append, fold

if TYPE_CHECKING:
    from pathlib import Path


def test_a_daemon_out_of_descriptors_takes_nobody_for_dead(home: Path) -> None:
    """However long the run is silent: its lock cannot be looked at, and soon may be."""
    joined = Scribe().line("join")
    path = append(home, "r", joined)
    state, size = fold(joined).state, path.stat().st_size
    long_after = path.stat().st_mtime + 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        without = look(path, size, state, long_after, idle_seconds=3600)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert without == "somebody"
    assert look(path, size, state, long_after, idle_seconds=3600) == "nobody"
