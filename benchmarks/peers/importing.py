"""What an import costs over a bare interpreter."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def import_seconds(python: Path, module: str, rounds: int) -> list[float]:
    """Alternate between an interpreter that imports a module and one that does not."""
    _seconds(python, f"import {module}")  # compiles it
    taken = []
    for _ in range(rounds):
        bare = _seconds(python, "pass")
        taken.append(_seconds(python, f"import {module}") - bare)
    return taken


def _seconds(python: Path, program: str) -> float:
    start = time.perf_counter()
    subprocess.run([python, "-c", program], check=True, capture_output=True)
    return time.perf_counter() - start
