"""`steplogd doctor` as a real process, and what it found."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from steplogd.doctor.finding import Finding
from tests.daemon import steplogd

if TYPE_CHECKING:
    from pathlib import Path


class Report(NamedTuple):
    """How it exited, and what it printed."""

    status: int
    state: str
    findings: list[Finding]

    def of(self, check: str, subject: str = "") -> list[Finding]:
        """Return what one check found that is not as it should be."""
        return [
            finding
            for finding in self.findings
            if finding.check == check
            and finding.state in ("warning", "wrong")
            and subject in ("", finding.subject)
        ]

    def states(self, check: str) -> list[str]:
        """Return the states of what a check found."""
        return [finding.state for finding in self.findings if finding.check == check]


def examine(*arguments: str) -> Report:
    """Run it; nothing is on its standard error, wherever it is run."""
    told = steplogd("doctor", "--json", *arguments)
    assert told.stderr == ""
    return read(told.returncode, told.stdout)


def read(status: int, printed: str) -> Report:
    """Read what it printed with `--json`."""
    document = json.loads(printed)
    return Report(status, document["state"], msgspec.convert(document["findings"], list[Finding]))


def everything_in(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return mode, size and time of all that lies in a folder; of SQLite's locks, mode and size.

    These lie in memory that all of its processes share, and reading means locking.
    """
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        changed = 0 if path.name.endswith("-shm") else status.st_mtime_ns
        found[os.fspath(path)] = (status.st_mode, status.st_size, changed)
    return found
