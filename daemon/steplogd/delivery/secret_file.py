"""A secret from a file, as a service manager or an administrator lays it down."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from steplogd.delivery.contract import Unavailable

if TYPE_CHECKING:
    from pathlib import Path


def secret_in(file: Path, what: str, most_bytes: int) -> str:
    """Return what a file holds now: one line of ASCII, without spaces.

    Args:
        file: Where it is.
        what: It is called; the option that names the file is called `WHAT_file`.
        most_bytes: How long it may be.

    Raises:
        Unavailable: It cannot be read, or holds none.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(most_bytes + 1)
        secret = content.decode("ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it holds more than a {what}"
        raise Unavailable(f"the {what}_file {file} cannot be read: {reason}") from None
    if len(content) > most_bytes:  # cut, it would be another
        raise Unavailable(f"the {what}_file {file} is too long for a {what}: {most_bytes} bytes")
    if not secret.isprintable() or not secret or " " in secret:
        raise Unavailable(f"the {what}_file {file} holds no {what}: one line, without spaces")
    return secret


def readable(file: Path) -> os.stat_result | None:
    """Return the status of a secret's file; None where there is none.

    Raises:
        PermissionError: It is not for this user to read.
    """
    try:
        status = file.stat()
    except PermissionError:
        raise
    except OSError:  # whoever reads it will say so
        return None
    if not os.access(file, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
    return status
