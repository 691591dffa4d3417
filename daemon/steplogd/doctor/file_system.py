"""Looks at the file system of the home: whose it is, and whether it can do what is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steplog.home import spool_folder
from steplogd.doctor.finding import Finding, ok, skipped, warning, wrong
from steplogd.doctor.probe import Probe, probe
from steplogd.mounts import mount_under
from steplogd.mounts import warning as remote_warning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.doctor.patient import Patient

CHECK: Final = "file-system"
_ELSEWHERE: Final = "take a home on a local disk: `home` in the configuration, and STEPLOG_HOME"
_IN_MEMORY: Final = {"tmpfs", "ramfs"}


def look(patient: Patient) -> Iterator[Finding]:
    """See that it is local and lasting, and try out locks, appending, and shared memory."""
    folder = spool_folder(patient.home)
    mount = mount_under(folder)
    found = list(_tried(patient.home)) if patient.home.is_dir() else []
    if mount is not None and mount.is_remote:
        found.append(warning(CHECK, remote_warning(folder, mount), _ELSEWHERE))
    elif mount is not None and mount.type in _IN_MEMORY:
        text = f"{folder} lies in memory ({mount.type} at {mount.point}): a reboot takes it all"
        found.append(warning(CHECK, text, _ELSEWHERE))
    kind = f"{mount.type} at {mount.point}" if mount else "of a kind that nobody tells"
    if not any(finding.state in ("warning", "wrong") for finding in found):
        found.append(ok(CHECK, kind))
    yield from found


def _tried(home: Path) -> Iterator[Finding]:
    try:
        found = probe(home)
    except OSError as error:
        yield skipped(CHECK, f"nothing can be tried out in {home} ({error.strerror})")
        return
    if found is not None:
        yield from _missing(home, found)


def _missing(home: Path, found: Probe) -> Iterator[Finding]:
    if not found.has_locks:
        text = f"locks (flock) do not work in {home}: nobody sees that a task was killed"
        yield wrong(CHECK, text, _ELSEWHERE)
    if not found.appends:
        text = f"O_APPEND does not append in {home}: lines of several writers are lost"
        yield wrong(CHECK, text, _ELSEWHERE)
    if not found.has_shared_memory:
        text = f"files cannot be mapped in {home}, which SQLite needs for its WAL"
        yield wrong(CHECK, text, _ELSEWHERE)
