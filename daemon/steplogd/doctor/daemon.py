"""Looks at who serves the home, and what waits while nobody does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steplog.cli.terminal import counted
from steplog.home import spool_folder
from steplogd.doctor.finding import Finding, ok, skipped, warning
from steplogd.intake.tail import list_spools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.doctor.patient import Patient

CHECK: Final = "daemon"


def look(patient: Patient) -> Iterator[Finding]:
    """Say which process serves the home."""
    if not patient.is_pid_known:
        yield skipped(CHECK, f"who serves {patient.home} is not for this user to see")
    elif patient.pid is not None:
        yield ok(CHECK, f"process {patient.pid} serves {patient.home}")
    else:
        try:
            count = sum(1 for _ in list_spools(spool_folder(patient.home)))
        except OSError:
            count = 0
        waiting = f", with {counted(count, 'spool')} in it" if count else ""
        text = f"no daemon serves {patient.home}{waiting}: nothing is folded or delivered"
        yield warning(CHECK, text, "start one: `steplogd run`, or `steplogd install` for systemd")
