"""Where a benchmark runs: processor, memory, file system, versions, load."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from pathlib import Path

from benchmarks.frame.answer import Machine


def describe(load_before: float) -> Machine:
    """Describe this machine, and how busy it was before and is now."""
    return Machine(
        cpu=_first("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(int(_first("/proc/meminfo", r"MemTotal:\s*(\d+)") or 0) / 1e6, 1),
        kernel=platform.release(),
        filesystem=filesystem(Path(tempfile.gettempdir())),
        python=platform.python_version(),
        load_before=round(load_before, 2),
        load_after=round(os.getloadavg()[0], 2),
    )


def filesystem(folder: Path) -> str:
    """Return the kind of file system that a folder lies on."""
    kinds = {}
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        _, point, kind, *_ = line.split()
        kinds[Path(point)] = kind
    resolved = folder.resolve()
    return next((kinds[at] for at in (resolved, *resolved.parents) if at in kinds), "unknown")


def _first(path: str, pattern: str) -> str:
    found = re.search(pattern, Path(path).read_text("utf-8"))
    return found[1].strip() if found else ""
