"""What was found of one thing: whether it is as it should be, and how to mend it."""

from __future__ import annotations

import contextlib
import pwd
from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """What one check found; a check may find several things.

    Attributes:
        check: What was looked at, by a name that stays the same from version to version.
        state: Whether it is as it should be; `skipped` where that cannot be told here.
        text: What was found, or why nothing was; in one sentence without a full stop.
        mend: What to do, with the very command where there is one; "" where nothing is to be done.
        subject: Which one, of a check that looks at several: a backend's name, say.
        bars_start: Whether a daemon refuses to start because of it, with exit status 78.
    """

    check: str
    state: Literal["ok", "warning", "wrong", "skipped"]
    text: str
    mend: str = ""
    subject: str = ""
    bars_start: bool = False


def ok(check: str, text: str, *, subject: str = "") -> Finding:
    """Say that something is as it should be."""
    return Finding(check, "ok", text, subject=subject)


def warning(check: str, text: str, mend: str, *, subject: str = "") -> Finding:
    """Say that something works, but not well, or not for long."""
    return Finding(check, "warning", text, mend, subject)


def wrong(check: str, text: str, mend: str, *, subject: str = "") -> Finding:
    """Say that something does not work."""
    return Finding(check, "wrong", text, mend, subject)


def skipped(check: str, why: str, *, subject: str = "") -> Finding:
    """Say why something could not be looked at."""
    return Finding(check, "skipped", why, subject=subject)


def user_name(uid: int) -> str:
    """Return what a user is called, for a command too."""
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"#{uid}"  # as sudo takes it
