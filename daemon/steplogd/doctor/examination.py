"""The examination: all checks in their order, of which none can end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steplog.errors import describe
from steplogd.config import ConfigError
from steplogd.doctor import (
    backends,
    clock,
    configuration,
    daemon,
    delivery,
    disk,
    environment,
    file_system,
    home,
    inotify,
    open_files,
    spools,
    store,
    unit,
)
from steplogd.doctor.finding import Finding, skipped, wrong
from steplogd.doctor.patient import admit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steplogd.doctor.backends import Note
    from steplogd.doctor.patient import Patient

    Look = Callable[[Patient], Iterator[Finding]]

_CHECKS: Final[dict[str, Look]] = {
    home.CHECK: home.look,
    home.PERMISSIONS: home.look_at_permissions,
    file_system.CHECK: file_system.look,
    disk.CHECK: disk.look,
    clock.CHECK: clock.look,
    inotify.CHECK: inotify.look,
    open_files.CHECK: open_files.look,
    unit.CHECK: unit.look,
    daemon.CHECK: daemon.look,
    environment.CHECK: environment.look,
    spools.CHECK: spools.look,
    store.CHECK: store.look,
    delivery.CHECK: delivery.look,
}


def examine(given: str | None, timeout_seconds: float, note: Note) -> Iterator[Finding]:
    """Yield what is found, as it is found; changes nothing.

    Args:
        given: The configuration file that was named.
        timeout_seconds: How long the backends may take, all together.
        note: Says what is waited for.
    """
    try:
        path, config = configuration.read(given)
    except ConfigError as error:
        yield configuration.refused(error)
        for check in (*_CHECKS, backends.CHECK):
            yield skipped(check, "the configuration is wrong")
        return
    patient = admit(config, timeout_seconds)
    yield from _guarded(
        configuration.CHECK, lambda _: configuration.look(given, path, config), patient
    )
    for check, look in _CHECKS.items():
        yield from _guarded(check, look, patient)
    yield from _guarded(backends.CHECK, lambda patient: backends.look(patient, note), patient)


def _guarded(check: str, look: Look, patient: Patient) -> Iterator[Finding]:
    """Look, and say of what cannot be looked at why not."""
    try:
        yield from look(patient)
    except PermissionError as error:
        where = error.filename or patient.home
        yield skipped(check, f"{where} is not for this user to see; run this as its owner")
    except OSError as error:
        where = error.filename or patient.home
        text = f"{where} cannot be looked at ({error.strerror or error})"
        yield wrong(check, text, "see that its disk can be read: dmesg | tail")
    except Exception as error:  # noqa: BLE001  # one check must not cost the others
        yield skipped(check, f"it could not be looked at ({describe(error)})")
