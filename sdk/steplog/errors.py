"""The errors that steplog raises on purpose, sorted by what the caller does next."""

from __future__ import annotations


class SteplogError(Exception):
    """Root of all errors of this package; its text says what failed and what to do."""


class TrackingError(SteplogError):
    """An event could not be recorded; raised only when `configure(strict=True)` asks for it."""


class NoRoom(SteplogError):
    """Less than `min_free` would be left of the disk, which is kept for the task's own files."""

    def __init__(self, min_free: int) -> None:
        super().__init__(
            f"the disk is full but for the last {min_free:,} bytes (min_free), which are left to "
            "the task's own files; free some, or set STEPLOG_MIN_FREE to fewer"
        )


class InvalidName(SteplogError, ValueError):
    """A run id is not one that can be used; a task may have any name."""


class RunNotFound(SteplogError, LookupError):
    """No run of that id is in the run log."""


class AttemptNotFound(SteplogError, LookupError):
    """No task of the run has an attempt of that number."""


class StoreUnreadable(SteplogError):
    """`steplog.db` is missing, of another version, or not to be read by this user."""


def describe(error: BaseException) -> str:
    """Return an error's type and text; its type alone when it has no text, or a broken one."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a text that raises must not cost more than itself
        return name
    return f"{name}: {text}" if text else name
