"""Looks at how many files the daemon may have open, or this user where nobody serves."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steplogd.doctor.finding import Finding, ok, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.doctor.patient import Patient

CHECK: Final = "open-files"
LEAST: Final = 256
"""Spools are opened one after the other; what takes descriptors are trackers and their clients."""

_LINE: Final = "Max open files"
_NEARLY: Final = 0.9


def look(patient: Patient) -> Iterator[Finding]:
    """Compare the limit with what is open, and with what is needed."""
    limit = _limit_of(patient.pid)
    if limit is None:
        yield skipped(CHECK, f"the limits of process {patient.pid} are not for this user to see")
        return
    whose = f"process {patient.pid}" if patient.pid else "a process of this user"
    used = _open_of(patient.pid)
    mend = "LimitNOFILE=1024 in the unit (`systemctl edit steplogd`), or `ulimit -n 1024`"
    if used is not None and used >= _NEARLY * limit:
        text = f"{whose} has {used:,} files open, of {limit:,} that it may have"
        yield warning(CHECK, text, mend)
    elif limit < LEAST:
        text = f"{whose} may have {limit:,} files open: too few for most trackers"
        yield warning(CHECK, text, mend)
    else:
        now = f", and has {used:,}" if used is not None else ""
        yield ok(CHECK, f"{whose} may have {limit:,} files open{now}")


def _limit_of(pid: int | None) -> int | None:
    """Return the soft limit of a process, or of ours; very many where there is none."""
    if pid is None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return soft if soft != resource.RLIM_INFINITY else 2**31
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith(_LINE):
                soft_text = line.removeprefix(_LINE).split()[0]
                return int(soft_text) if soft_text.isdigit() else 2**31
    return None


def _open_of(pid: int | None) -> int | None:
    if pid is None:
        return None
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return None
