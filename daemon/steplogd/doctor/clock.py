"""Looks at the clock: whether it is set by others, and what was written says no later time."""

from __future__ import annotations

import datetime
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steplog.home import spool_folder
from steplogd.clock import JUMP_SECONDS
from steplogd.doctor.finding import Finding, ok, skipped, warning, wrong
from steplogd.doctor.probe import probe
from steplogd.doctor.systemctl import Silent, ask
from steplogd.intake.tail import scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.doctor.patient import Patient

CHECK: Final = "clock"
_SET_IT: Final = "set it: sudo timedatectl set-ntp true"
_MOST_LOOKED_AT: Final = 100_000


def look(patient: Patient) -> Iterator[Finding]:
    """Compare the clock with those who set it, and with the times of what lies there."""
    found = [*_before_installation(), *_ahead(patient.home), *_file_systems(patient.home)]
    yield from found
    yield from _synchronised(is_plausible=not found)


def _synchronised(*, is_plausible: bool) -> Iterator[Finding]:
    try:
        told = ask("timedatectl", "show", "-p", "NTPSynchronized").get("NTPSynchronized", "")
    except Silent as silent:
        if is_plausible:
            yield skipped(CHECK, f"plausible; whether it is synchronised is not told ({silent})")
        return
    if told == "no":
        text = (
            "the clock is not synchronised: times of runs are off, and of other machines' more so"
        )
        yield warning(CHECK, text, _SET_IT.removeprefix("set it: "))
    elif is_plausible:
        yield ok(CHECK, "synchronised" if told == "yes" else "plausible")


def _before_installation() -> Iterator[Finding]:
    installed = Path(__file__).stat().st_mtime
    if time.time() < installed - JUMP_SECONDS:
        text = f"the clock says {_said(time.time())}, before this was installed"
        yield wrong(CHECK, text, _SET_IT)


def _ahead(home: Path) -> Iterator[Finding]:
    """Find the spool that was written last, in the future perhaps."""
    try:
        listed = itertools.islice(scan(spool_folder(home)), _MOST_LOOKED_AT)
        latest = max(((status.st_mtime, run_id) for run_id, status in listed), default=(0.0, ""))
    except OSError:
        return
    if latest[0] > time.time() + JUMP_SECONDS:
        text = (
            f"the spool of run {latest[1]} was written at {_said(latest[0])}, and now it is "
            f"{_said(time.time())}: the clock was set back, or was wrong then"
        )
        yield wrong(CHECK, text, f"{_SET_IT}; runs end when it has come to that time")


def _file_systems(home: Path) -> Iterator[Finding]:
    try:
        found = probe(home)
    except OSError:
        return
    if found is not None and abs(found.seconds_ahead) > JUMP_SECONDS:
        text = f"the file system of {home} has a clock of its own, {found.seconds_ahead:+.0f} s"
        yield warning(CHECK, text, "synchronise the machine that it comes from; or a local home")


def _said(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
