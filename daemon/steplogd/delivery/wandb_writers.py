"""Finds the processes that still write a run's files, and ends them before anybody else does."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from steplogd.delivery.wandb_child import is_running, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Collection


def children() -> list[int]:
    """Return the processes that this one has started, wandb-core that is."""
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, task.read_bytes().split())
    return found


def is_core_running() -> bool:
    """Tell whether wandb-core lives; it does not come back."""
    return any(is_running(pid) for pid in children())


def end_orphans(files: Collection[Path]) -> None:
    """End each process that has one of these files open, our own apart.

    The wandb-core of a child that was killed goes on for a second or two, and writes what it has
    taken already: rows that we would write once more if we looked at the file before it is gone.
    """
    names = {str(path.resolve()) for path in files}
    ours = {os.getpid(), *children()}
    orphans = [pid for pid in _holders(names) if pid not in ours]
    for pid in orphans:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until_gone(orphans)


def _holders(names: set[str]) -> list[int]:
    """Return who has one of these files open for writing, among the processes that we may see."""
    if not names:
        return []
    pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]
    return [pid for pid in pids if _is_open(f"/proc/{pid}/fd", names)]


def _is_open(folder: str, names: set[str]) -> bool:
    with contextlib.suppress(OSError), os.scandir(folder) as descriptors:
        return any(
            str(Path(each.path).readlink()) in names and _is_writable(each) for each in descriptors
        )
    return False


def _is_writable(descriptor: os.DirEntry[str]) -> bool:
    """Whoever only reads, to look at the run, is left alone."""
    return bool(descriptor.stat(follow_symlinks=False).st_mode & 0o200)
