"""Looks at the disk of the home: what is left of it, and when run logs stop growing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from steplog.home import nearest_there
from steplog.room import free_bytes, min_free
from steplogd.doctor.finding import Finding, ok, warning, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.doctor.patient import Patient

CHECK: Final = "disk"
_SOON: Final = 4
"""Less than so many times `min_free` is little."""

_LEAST_INODES: Final = 100


def look(patient: Patient) -> Iterator[Finding]:
    """Compare what is free with `min_free`, in bytes, and see that files can be made."""
    folder = nearest_there(patient.home)
    spared = patient.config.settings.min_free
    spared = min_free(folder) if spared is None else spared
    free = free_bytes(folder)
    if free < spared:
        text = (
            f"{free:,} bytes are free on the disk of {patient.home}, and the last {spared:,} "
            "(min_free) are left to tasks: run logs do not grow, and tasks cannot track"
        )
        yield wrong(CHECK, text, f"free some (du -xh --max-depth=2 {folder}), or set min_free")
    elif free < _SOON * spared:
        text = (
            f"{free:,} bytes are free on the disk of {patient.home}, of which {spared:,} "
            "(min_free) are left to tasks"
        )
        yield warning(CHECK, text, f"free some soon: du -xh --max-depth=2 {folder}")
    else:
        yield ok(CHECK, f"{free:,} bytes are free, of which {spared:,} are left to tasks")
    yield from _inodes(folder)


def _inodes(folder: Path) -> Iterator[Finding]:
    disk = os.statvfs(folder)
    if disk.f_files and disk.f_favail < _LEAST_INODES:
        text = f"{disk.f_favail:,} files can be made on the disk of {folder}: each run takes some"
        finding = wrong if disk.f_favail == 0 else warning
        yield finding(CHECK, text, f"remove files: du --inodes -x --max-depth=2 {folder}")
