"""Takes over the variables of the daemon: this shell does not know what its unit says of trackers.

Only from a process of this very user, in a home of his. What another one has there could be made up
for root to come by: `LD_PRELOAD`, say, and whatever root starts then is his.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from steplogd.doctor.patient import Patient

_UIDS: Final = b"Uid:"


def take_environment(patient: Patient) -> bool:
    """Have the variables of the daemon that serves the home; False where they are not for us."""
    if patient.pid is None:
        return True
    process = Path("/proc", str(patient.pid))
    try:
        if b"steplogd" not in (process / "cmdline").read_bytes():
            return True  # it is the number that the daemon has within a container
        if {patient.home.stat().st_uid, *_uids(process)} != {os.geteuid()}:
            return False
        pairs = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    for pair in pairs:
        name, equals, value = pair.partition(b"=")
        if equals and name:
            os.environb[name] = value
    return True


def _uids(process: Path) -> set[int]:
    """Return as whom a process runs: real, effective and saved, as setuid makes them differ."""
    lines = (process / "status").read_bytes().splitlines()
    return {int(uid) for line in lines if line.startswith(_UIDS) for uid in line.split()[1:]}
