"""The last words of a plain sh that SIGTERM is about to end: dash by itself would say none."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

SIGNAL: Final = signal.SIGURG
"""The prelude lets a shell record, and then end itself by SIGTERM, when this arrives: a signal that
does nothing to a program that does not ask for it."""

_PATIENCE_SECONDS: Final = 0.2
_PAUSE_SECONDS: Final = 0.005


def hear(pid: int) -> None:
    """Let a child end itself by SIGTERM, if it has the prelude and would die of that signal.

    A shell that waits for a program does not, but has nothing exported that the program has not.
    """
    if not _is_asking(pid):
        return
    try:
        os.kill(pid, SIGNAL)
    except PermissionError:  # it has become another user's
        return
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(_PAUSE_SECONDS)


def _is_asking(pid: int) -> bool:
    caught, ignored = _signals(pid, "SigCgt"), _signals(pid, "SigIgn")
    return SIGNAL in caught and signal.SIGTERM not in caught | ignored


def _signals(pid: int, field: str) -> set[int]:
    """Return the signals that `/proc` lists in a field of a process's status."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            lines = [line for line in file if line.startswith(f"{field}:")]
    except OSError:
        return set()
    mask = int(lines[0].split()[1], 16) if lines else 0
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
