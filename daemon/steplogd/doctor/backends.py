"""Looks at the backends: each is built and asked in a thread, and none is waited for too long."""

from __future__ import annotations

import os
import shlex
import threading
import time
from typing import TYPE_CHECKING, Final

from steplog.errors import describe
from steplogd.config import ConfigError
from steplogd.delivery.contract import Backend, BackendError, CheckableBackend, Remark
from steplogd.doctor.daemon_environment import take_environment
from steplogd.doctor.finding import Finding, ok, skipped, warning, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Protocol

    from steplogd.config import BackendConfig
    from steplogd.doctor.patient import Patient

    class Note(Protocol):
        """Says what is waited for, as long as a block lasts."""

        def __call__(self, sentence: str) -> AbstractContextManager[object]:
            """Begin."""


CHECK: Final = "backend"
BUILD_SECONDS: Final = 60.0
"""How long a tracker's package may take to be imported, which contacts nobody."""

_END_SECONDS: Final = 2.0
_WAITS: Final = "what is tracked waits for it meanwhile, and nothing is lost"


class Asked:
    """One backend that is asked in a thread of its own, which nobody waits for at the end.

    Attributes:
        name: The backend's.
    """

    def __init__(self, config: BackendConfig, home: Path) -> None:
        self.name = config.name
        self._config = config
        self._home = home
        self._backend: Backend | None = None
        self._found: list[Finding] = []
        self._is_built, self._is_done = threading.Event(), threading.Event()
        threading.Thread(target=self._run, name=f"ask {config.name}", daemon=True).start()

    def findings(self, until: float, timeout_seconds: float) -> list[Finding]:
        """Return what it said, until this moment of the steady clock."""
        if not self._is_built.wait(BUILD_SECONDS):
            text = f"its package was not imported within {BUILD_SECONDS:g} s"
            return [self._late(text)]
        is_done = self.wait_until_done(until)
        found = self._found.copy()
        if not is_done:
            found.append(self._late(f"it did not answer within {timeout_seconds:g} s"))
        return found

    def wait_until_built(self) -> None:
        """Wait for the import, so that the time to answer begins after it."""
        self._is_built.wait(BUILD_SECONDS)

    def end(self) -> None:
        """Let go of the backend, also of one that hangs: what it began goes with it, if it can."""
        if self._backend is not None and not self._is_done.is_set():
            threading.Thread(target=self._backend.close, daemon=True).start()

    def wait_until_done(self, until: float) -> bool:
        """Wait until this moment of the steady clock at most; tell whether all was said."""
        return self._is_done.wait(max(until - time.monotonic(), 0.0))

    def _late(self, text: str) -> Finding:
        mend = f"see that it runs, and that no firewall is between; {_WAITS}"
        return wrong(CHECK, f"{self.name}: {text}", mend, subject=self.name)

    def _run(self) -> None:
        try:
            self._ask()
        except PermissionError as error:
            self._found.append(self._closed(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a third party's may raise anything
            self._blame(describe(error), "tell whoever wrote the backend")
        finally:
            self._is_built.set()
            self._is_done.set()

    def _ask(self) -> None:
        try:
            backend = self._config.build(self._home)
        except ConfigError as error:
            text, mend = str(error).rstrip("."), "see what its table in the configuration says"
            self._found.append(Finding(CHECK, "wrong", text, mend, self.name, bars_start=True))
            return
        self._backend = backend
        self._is_built.set()
        try:
            if not isinstance(backend, CheckableBackend):
                why = f"{self.name}: backends of type {self._config.type} cannot be asked"
                self._found.append(skipped(CHECK, why, subject=self.name))
                return
            for remark in backend.check():
                self._note(remark)
        except BackendError as error:
            self._blame(str(error).rstrip("."), f"see that it runs; {_WAITS}")
        finally:
            backend.close()

    def _closed(self, error: PermissionError) -> Finding:
        """Say of what this user may not look at whether the daemon, which may be another's, can."""
        where = error.filename or "what it needs"
        if not _is_daemons_user(self._home):
            text = f"{self.name}: {where} is not for this user to see; run this as the home's owner"
            return skipped(CHECK, text, subject=self.name)
        text = f"{self.name}: {where} is closed to this user, whom the daemon runs as"
        mend = f"see whose it is, and its folders: namei -l {shlex.quote(str(where))}"
        return wrong(CHECK, text, mend, subject=self.name)

    def _note(self, remark: Remark) -> None:
        text = f"{self.name}: {remark.text}"
        is_well = not remark.mend
        found = (
            ok(CHECK, text, subject=self.name)
            if is_well
            else warning(CHECK, text, remark.mend, subject=self.name)
        )
        self._found.append(found)

    def _blame(self, text: str, mend: str) -> None:
        self._found.append(wrong(CHECK, f"{self.name}: {text}", mend, subject=self.name))


def _is_daemons_user(home: Path) -> bool:
    """Tell whether a daemon of this home would run as this user."""
    try:
        return home.stat().st_uid == os.geteuid()
    except OSError as error:
        return isinstance(error, FileNotFoundError)


def look(patient: Patient, note: Note) -> Iterator[Finding]:
    """Ask all of them at the same time, with the credentials that the daemon has, if one serves.

    Args:
        patient: Whose backends.
        note: Says what is waited for.
    """
    if patient.config.backends and not take_environment(patient):
        text = f"asked without what process {patient.pid} has in its environment"
        yield skipped(CHECK, f"{text}: run this as the user of that process")
    asked = [Asked(backend, patient.home) for backend in patient.config.backends]
    for one in asked:
        with note(f"importing what {one.name} needs"):
            one.wait_until_built()
    until = time.monotonic() + patient.timeout_seconds
    for one in asked:
        with note(f"waiting for {one.name}, for {patient.timeout_seconds:g} s at most"):
            found = one.findings(until, patient.timeout_seconds)
        yield from found
    for one in asked:
        one.end()
    until = time.monotonic() + _END_SECONDS
    for one in asked:
        one.wait_until_done(until)
