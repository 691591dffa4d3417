"""The last words of a plain sh that a signal is about to end: dash by itself would say none."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Final

SIGNAL: Final = signal.SIGURG
"""The prelude lets a shell record, and then end itself by SIGTERM, when this arrives: a signal that
does nothing to a program that does not ask for it."""

_PRELUDE: Final = b'. "$STEPLOG_EXEC_FOLDER/sh.sh"'
"""How the text begins that a plain sh with the prelude is started with."""

_GUARDED: Final = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
"""The prelude lets the command itself record on these, and then end itself by them."""

_PATIENCE_SECONDS: Final = 0.2
_LONG_PATIENCE_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.005


def hear(pid: int) -> None:
    """Let a child end itself by SIGTERM, if it has the prelude and would die of that signal.

    A shell that waits for a program does not, but has nothing exported that the program has not.
    """
    if not _is_asking(pid):
        return
    with contextlib.suppress(PermissionError):  # it has become another user's
        os.kill(pid, SIGNAL)
        _ends_within(_PATIENCE_SECONDS, pid)


def keeps_waiting(pid: int, number: int) -> bool:
    """Tell, after a signal, whether a child has the prelude and would be dead without it.

    A shell with a trap, be it ours, waits for the program that it runs before it heeds the signal.
    """
    return (
        _is_guarding(pid, number)
        and not _ends_within(_LONG_PATIENCE_SECONDS, pid)
        and _is_guarding(pid, number)
    )


def _ends_within(seconds: float, pid: int) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(_PAUSE_SECONDS)
    return False


def _is_asking(pid: int) -> bool:
    caught, ignored = _signals(pid, "SigCgt"), _signals(pid, "SigIgn")
    return SIGNAL in caught and signal.SIGTERM not in caught | ignored


def _is_guarding(pid: int, number: int) -> bool:
    """Tell whether the prelude's traps stand; a script with one of its own takes them all away."""
    caught, ignored = _signals(pid, "SigCgt"), _signals(pid, "SigIgn")
    return (
        number in _GUARDED
        and {number, SIGNAL} <= caught
        and caught | ignored >= _GUARDED
        and _has_prelude(pid)
    )


def _has_prelude(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
            return any(word.startswith(_PRELUDE) for word in file.read().split(b"\0"))
    except OSError:
        return False


def _signals(pid: int, field: str) -> set[int]:
    """Return the signals that `/proc` lists in a field of a process's status."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            lines = [line for line in file if line.startswith(f"{field}:")]
    except OSError:
        return set()
    mask = int(lines[0].split()[1], 16) if lines else 0
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
