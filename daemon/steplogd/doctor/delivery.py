"""Looks at what the store says of delivery: who is behind, failing, or refused something."""

from __future__ import annotations

import contextlib
import datetime
from typing import TYPE_CHECKING, Final

from steplog.cli.terminal import counted
from steplogd.doctor.finding import Finding, ok, skipped, warning
from steplogd.doctor.store import open_store
from steplogd.store.breakage import StoreError
from steplogd.store.cursors import Backlog, Cursors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.doctor.patient import Patient

CHECK: Final = "delivery"


def look(patient: Patient) -> Iterator[Finding]:
    """Say how far each backend is, as the last daemon has noted it."""
    if not patient.config.backends:
        yield ok(CHECK, "no backend: the run log has it all")
        return
    try:
        opened = open_store(patient)
        if opened is None:
            yield ok(CHECK, "nothing is to be delivered yet")
            return
        with contextlib.closing(opened) as database:
            cursors = Cursors(database)
            yield from _not_served(patient, cursors.served())
            for backend in patient.config.backends:
                yield from _behind(cursors.backlog(backend.name))
    except (StoreError, OSError):
        yield skipped(CHECK, "the store cannot be read")


def _not_served(patient: Patient, served: set[str]) -> Iterator[Finding]:
    for backend in patient.config.backends:
        if patient.pid is not None and backend.name not in served:
            text = f"process {patient.pid}, which serves the home, knows nothing of {backend.name}"
            mend = f"let it read the configuration again: kill -HUP {patient.pid}, or start it anew"
            yield warning(CHECK, text, mend, subject=backend.name)


def _behind(backlog: Backlog) -> Iterator[Finding]:
    name, owed = backlog.backend, counted(backlog.observations, "observation")
    behind = f"still to be sent: {owed} of {counted(backlog.runs, 'run')}"
    if backlog.error:
        since = _said(backlog.failing_since)
        text = f"{name} has been failing since {since}: {backlog.error.rstrip('.')}; {behind}"
        mend = "nothing is lost, and it is tried for ever; see what `backend` says below"
        yield warning(CHECK, text, mend, subject=name)
    elif not backlog.dead_letters:
        yield ok(CHECK, f"{name}: {behind if backlog.runs else 'all is sent'}", subject=name)
    if backlog.dead_letters:
        text = f"{name} refused {counted(backlog.dead_letters, 'observation')}, which are set aside"
        mend = "see why: steplogd dead-letters; then `steplogd dead-letters retry`, or `discard`"
        yield warning(CHECK, text, mend, subject=name)


def _said(ts: int | None) -> str:
    moment = datetime.datetime.fromtimestamp((ts or 0) / 1e6, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
