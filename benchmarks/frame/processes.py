"""What a process and all that it started cost: processor time, memory, threads, descriptors."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Final

TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat, counted after the name: its own time, and that of children that ended.
PARENT: Final = 1
TIMES: Final = slice(11, 15)


def family(process: int) -> list[int]:
    """Return a process and all its descendants that live."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            children.setdefault(int(fields[PARENT]), []).append(int(folder.name))
    found = [process]
    for one in found:  # grows while it is gone through
        found += children.get(one, [])
    return found


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process, all threads and descendants, dead ones included.

    Counted in ticks of 10 ms: for what takes longer than that.
    """
    return sum(map(own_cpu_seconds, family(process)))


def own_cpu_seconds(process: int) -> float:
    """Return the processor time of a process alone, and of its children that ended."""
    return sum(map(int, _stat(process)[TIMES])) / TICKS_A_SECOND


def kill_family(process: int) -> None:
    """Kill all descendants that live; the process itself is left."""
    for one in family(process)[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def memory_mb(process: int, highest: bool = False) -> float:
    """Return the resident memory of a process alone, now or at its highest."""
    status = Path(f"/proc/{process}/status").read_text("ascii")
    found = re.search(rf"{'VmHWM' if highest else 'VmRSS'}:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0


def thread_count(process: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{process}/task").iterdir()))


def descriptor_count(process: int) -> int:
    """Return how many descriptors a process has open."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def _stat(process: int) -> list[str]:
    """Return the fields after the name, none if the process is gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
