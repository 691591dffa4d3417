"""Looks at the unit: installed, enabled, active, of this installation, and what it ended with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steplogd.doctor.finding import Finding, ok, skipped, warning, wrong
from steplogd.doctor.systemctl import Silent, ask
from steplogd.doctor.units import Unit, installed
from steplogd.exit_statuses import EXIT_CONFIG, EXIT_HELD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.doctor.patient import Patient

CHECK: Final = "unit"
LINGERING: Final = "lingering"
_INSTALL: Final = "steplogd install"
_MEANINGS: Final = {
    str(EXIT_HELD): "another daemon holds the home",
    str(EXIT_CONFIG): "the configuration is wrong: see `steplogd check`",
    "203": "the program cannot be started",
    "217": "its user does not exist",
    "226": "its namespace cannot be set up",
}
"""What the exit status of a daemon means, ours and those of systemd itself."""


def look(patient: Patient) -> Iterator[Finding]:
    """Look at each unit that runs steplogd, and whether one of them serves the home."""
    units, reason = installed(_owner(patient))
    if not units and reason:
        yield skipped(CHECK, reason)
        return
    for unit in units:
        yield from _look_at(unit)
        yield from _lingering(unit)
    pids = {unit.pid for unit in units}
    if patient.pid is not None and patient.pid not in pids:
        text = f"process {patient.pid}, which serves the home, was not started by systemd"
        mend = f"end it, and start the unit: {units[0].command('start')}" if units else _INSTALL
        yield warning(CHECK, f"{text}: nobody starts it after a crash or a reboot", mend)
    elif not units:
        yield warning(CHECK, "no unit is installed: nobody starts a daemon by itself", _INSTALL)


def _owner(patient: Patient) -> int:
    try:
        return patient.home.stat().st_uid
    except OSError:
        return os.geteuid()


def _look_at(unit: Unit) -> Iterator[Finding]:
    found = [*_loaded(unit), *_program(unit), *_active(unit)]
    if not unit.is_enabled and unit.said.get("LoadState") == "loaded":
        text = f"{unit.name} is not enabled: it is not started with the machine"
        found.append(warning(CHECK, text, unit.command("enable"), subject=unit.name))
    if not any(finding.state in ("warning", "wrong") for finding in found):
        since = unit.said.get("ActiveEnterTimestamp", "")
        told = f"; it says: {unit.said['StatusText']}" if unit.said.get("StatusText") else ""
        whose = f" of user {unit.user}" if unit.user else ""
        text = f"{unit.name}{whose} is enabled, and active since {since}{told}"
        found.append(ok(CHECK, text, subject=unit.name))
    yield from found


def _loaded(unit: Unit) -> Iterator[Finding]:
    state = unit.said.get("LoadState")
    if state == "masked":
        text, mend = f"{unit.name} is masked: nothing can start it", unit.command("unmask")
        yield wrong(CHECK, text, mend, subject=unit.name)
    elif state != "loaded":
        file = unit.said.get("FragmentPath") or unit.name
        text = f"systemd cannot load {unit.name} ({state})"
        yield wrong(CHECK, text, f"systemd-analyze verify {file}", subject=unit.name)
    if unit.said.get("NeedDaemonReload") == "yes":
        text = f"the file of {unit.name} has changed, and systemd has the old one"
        mend = unit.command("daemon-reload").removesuffix(f" {unit.name}")
        yield warning(CHECK, text, mend, subject=unit.name)


def _program(unit: Unit) -> Iterator[Finding]:
    program, ours = unit.program, Path(sys.executable).parent
    if program is None:
        return
    if not os.path.lexists(program):
        text = f"{unit.name} starts {program}, which is not there"
        yield wrong(CHECK, text, _INSTALL, subject=unit.name)
    elif program.parent != ours and program.resolve().parent != ours.resolve():
        text = f"{unit.name} starts {program}, and this is the steplogd in {ours}"
        module = " -m steplogd" if program.name.startswith("python") else ""
        mend = f"run `{program}{module} doctor`, or `{_INSTALL}` from here"
        yield warning(CHECK, text, mend, subject=unit.name)


def _active(unit: Unit) -> Iterator[Finding]:
    if unit.state in ("active", "reloading") or unit.said.get("LoadState") != "loaded":
        return
    if _is_starting(unit) and not unit.restarts:
        text = f"{unit.name} is about to start, and not ready yet"
        mend = f"look again in a while, or at its log: {_journal(unit)}"
        yield warning(CHECK, text, mend, subject=unit.name)
        return
    if unit.state == "inactive" and unit.said.get("Result", "success") == "success":
        text = f"{unit.name} is not started"
        yield wrong(CHECK, text, unit.command("start"), subject=unit.name)
        return
    text = f"{unit.name} is {unit.state}: {_ended(unit)}"
    mend = f"see why, and start it: {_journal(unit)}; {unit.command('restart')}"
    yield wrong(CHECK, text, mend, subject=unit.name)


def _is_starting(unit: Unit) -> bool:
    return unit.state == "activating" and unit.said.get("SubState") != "auto-restart"


def _ended(unit: Unit) -> str:
    if _is_starting(unit):  # as nearly always between two starts, and then no more is told
        times = "once" if unit.restarts == 1 else f"{unit.restarts} times"
        return f"it ended, and was started again {times}"
    status = unit.said.get("ExecMainStatus", "")
    meaning = f", {_MEANINGS[status]}" if status in _MEANINGS else ""
    again = f", after {unit.restarts} restarts" if unit.restarts else ""
    return f"it ended with {unit.said.get('Result', 'unknown')} (status {status}{meaning}){again}"


def _journal(unit: Unit) -> str:
    words = "journalctl --user" if unit.user else "sudo journalctl"
    return f"{words} -u {unit.name} -n 50"


def _lingering(unit: Unit) -> Iterator[Finding]:
    """See that a user's daemon does not end with his last session."""
    if not unit.user:
        return
    try:
        told = ask("loginctl", "show-user", unit.user, "-p", "Linger").get("Linger", "")
    except Silent as silent:
        yield skipped(LINGERING, str(silent), subject=unit.user)
        return
    if told == "no":
        text = f"the daemon of user {unit.user} is ended when he logs out"
        mend = f"sudo loginctl enable-linger {unit.user}"
        yield warning(LINGERING, text, mend, subject=unit.user)
    else:
        yield ok(
            LINGERING, f"the daemon of user {unit.user} outlives his sessions", subject=unit.user
        )
