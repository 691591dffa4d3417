"""The `steplog` command as a process of its own."""

from __future__ import annotations

import select
import subprocess
import sys
from typing import IO, Final

from tests.conftest import DEADLINE_SECONDS

_PROGRAM: Final = "import sys; from steplog.cli import main; sys.exit(main())"
STEPLOG: Final = (sys.executable, "-c", _PROGRAM)
"""The command, whatever is installed where."""


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start it, with pipes for all that it says."""
    return subprocess.Popen(
        [*STEPLOG, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )


def read_line(stream: IO[bytes] | None) -> bytes:
    """Wait for a line, so that a command that never prints it fails the test by name."""
    assert stream is not None
    assert select.select([stream], [], [], DEADLINE_SECONDS)[0], "no line came"
    return stream.readline()
