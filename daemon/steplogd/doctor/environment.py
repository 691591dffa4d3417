"""Looks at this shell: whether what is tracked in it lands in the home that is served."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steplog.home import default_home
from steplogd.doctor.finding import Finding, ok, warning
from steplogd.doctor.patient import serving_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.doctor.patient import Patient

CHECK: Final = "environment"
_SYSTEM_HOME: Final = Path("/var/lib/steplog")


def look(patient: Patient) -> Iterator[Finding]:
    """Compare the home of this shell with that of the daemon."""
    try:
        tracked_to = default_home()
    except RuntimeError:
        mend = f"export STEPLOG_HOME={shlex.quote(str(patient.home))}"
        yield warning(CHECK, "this user has no home directory to track into", mend)
        return
    if not _is_same(tracked_to, patient.home):
        yield _elsewhere(
            f"what is tracked in this shell goes to {tracked_to}, and the daemon of this "
            f"configuration serves {patient.home}",
            patient.home,
        )
    elif patient.is_pid_known and patient.pid is None and (found := _served_elsewhere(tracked_to)):
        home, pid = found
        yield _elsewhere(
            f"what is tracked in this shell goes to {tracked_to}, which nobody serves, and the "
            f"daemon with process id {pid} serves {home}",
            home,
        )
    else:
        yield ok(CHECK, f"what is tracked in this shell goes to {tracked_to}")


def _elsewhere(text: str, home: Path) -> Finding:
    return warning(CHECK, text, f"export STEPLOG_HOME={shlex.quote(str(home))}")


def _served_elsewhere(home: Path) -> tuple[Path, int] | None:
    """Return another usual home that a daemon serves, and its process."""
    usual = [_SYSTEM_HOME]
    with contextlib.suppress(RuntimeError):
        usual.append(Path.home() / ".local" / "state" / "steplog")
    for other in usual:
        with contextlib.suppress(OSError):
            if not _is_same(other, home) and (pid := serving_process(other)) is not None:
                return other, pid
    return None


def _is_same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return one == other or one.samefile(other)
    return False
