"""What `steplog exec` has to say for itself: one sentence on stderr, among the command's output."""

from __future__ import annotations

import contextlib
import sys

from steplog.cli.terminal import sanitise


def warn(sentence: str) -> None:
    """Say a sentence; where nobody can be told, the command matters more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"steplog: {sanitise(sentence)}\n")
        sys.stderr.flush()
