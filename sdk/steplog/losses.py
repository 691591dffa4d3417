"""What happens when an event cannot be recorded: one warning, or an error if asked for."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from steplog.errors import TrackingError, describe

MAX_WARNINGS: Final = 100
"""Different reasons that one process warns of; a reason may hold a changing text."""

EXHAUSTED: Final = (RecursionError, MemoryError)
"""Whoever deals with these calls nothing more, or would meet them again."""

EXHAUSTED_REASON: Final = "the program was out of memory, or at its recursion limit"

_warned: set[str] = set()
_strict: bool | None = None


def set_strict(strict: bool | None) -> None:
    """Raise from now on (True), warn (False), or go by `STEPLOG_STRICT` (None)."""
    global _strict
    _strict = strict


def is_strict() -> bool:
    """Tell whether an event that cannot be recorded raises."""
    if _strict is not None:
        return _strict
    return os.environ.get("STEPLOG_STRICT", "").lower() in ("1", "true", "yes", "on")


def report(error: Exception, where: str) -> None:
    """Warn of an event that was not recorded, once for each reason.

    Args:
        error: Why.
        where: The run, as "run NAME".

    Raises:
        TrackingError: Instead, when that was asked for.
    """
    reason = describe(error)
    if is_strict():
        raise TrackingError(f"An event of {where} was not recorded: {reason}") from error
    if reason in _warned:  # nearly always, where a full disk costs one event after another
        return
    warn_once(
        f"An event of {where} was not recorded, and the training goes on: {reason}. "
        "More of the same are counted in the run log, not reported.",
        reason,
    )


def report_stand_in(run_id: str, own_id: str) -> None:
    """Warn once that what is tracked goes to another run than the one that was asked for.

    Raises:
        TrackingError: Instead, when that was asked for.
    """
    sentence = stand_in_sentence(run_id, own_id)
    if is_strict():
        raise TrackingError(sentence)
    warn_once(sentence)


def stand_in_sentence(run_id: str, own_id: str) -> str:
    """Say that a run is another user's, and which one stands in for it."""
    return f"Run {run_id} is another user's in this home: what is tracked goes to run {own_id}."


def warn_once(sentence: str, reason: str = "") -> None:
    """Warn, unless of the same before; never raises.

    Args:
        sentence: What is said.
        reason: What makes it the same; without one, the sentence.
    """
    if (reason or sentence) in _warned or len(_warned) >= MAX_WARNINGS:
        return
    try:
        import logging  # costs more than all of our own import, and nearly no process needs it
    except Exception:  # noqa: BLE001  # no descriptor is left, or the interpreter shuts down
        return
    _warned.add(reason or sentence)
    with contextlib.suppress(Exception):  # a log handler of the program may raise
        logging.getLogger("steplog").warning("%s", sentence)
