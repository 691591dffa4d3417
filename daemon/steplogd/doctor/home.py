"""Looks at the home: whether it is there, whose it is, and who may do what in it."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from typing import TYPE_CHECKING, Final

from steplog.home import catalog_folder, is_shared, nearest_there, spool_folder
from steplogd.doctor.finding import Finding, ok, skipped, user_name, warning, wrong
from steplogd.shared_home import FOLDER_MODE, HOME_MODE, troubles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.doctor.patient import Patient

CHECK: Final = "home"
PERMISSIONS: Final = "permissions"

_OPEN: Final = stat.S_IWGRP | stat.S_IRWXO
"""A group may read spools, so that its daemon can; nobody else has anything to do there."""

_SHARED_MODES: Final = {"": HOME_MODE, "spool": FOLDER_MODE, "catalog": FOLDER_MODE}
_MOST_NAMED: Final = 3


def look(patient: Patient) -> Iterator[Finding]:
    """See that the home is there, or can be made, and that this user can write it."""
    home = patient.home
    try:
        status = home.stat()
    except FileNotFoundError:
        yield _absent(home)
        return
    except OSError as error:
        mend = "run this as the user whom steplogd runs as, or as root"
        yield wrong(CHECK, f"{home} cannot be seen by this user ({error.strerror})", mend)
        return
    owner = user_name(status.st_uid)
    if patient.config.settings.shared and status.st_uid != os.geteuid():
        yield ok(CHECK, f"{home}, of user {owner}, who shares it")
    elif not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield wrong(CHECK, f"this user cannot write {home}, of user {owner}", _mend(home, status))
    else:
        yield ok(CHECK, f"{home}, of user {owner}")


def look_at_permissions(patient: Patient) -> Iterator[Finding]:
    """See that all in the home belongs to its owner, and is open to those alone whom it is for."""
    home = patient.home
    try:
        status = home.stat()
    except OSError:
        yield skipped(PERMISSIONS, f"{home} is not there, or not for this user to see")
        return
    check = _shared if patient.config.settings.shared else _private
    found = [*check(home, status), *_foreign(home, status)]
    how = "shared" if patient.config.settings.shared else "nobody else's"
    yield from found or [ok(PERMISSIONS, f"{home} is {how}, as it should be")]


def _absent(home: Path) -> Finding:
    above = nearest_there(home.parent)
    if os.access(above, os.W_OK | os.X_OK):
        return ok(CHECK, f"{home} is not there yet: whoever tracks first makes it")
    text = f"{home} is not there, and this user cannot make it in {above}"
    quoted, me = shlex.quote(str(home)), user_name(os.geteuid())
    return wrong(CHECK, text, f"sudo install -d -m 700 -o {shlex.quote(me)} {quoted}")


def _mend(home: Path, status: os.stat_result) -> str:
    if os.statvfs(home).f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only: mount it for writing, or take another home"
    if status.st_uid != os.geteuid():
        return f"sudo -u {shlex.quote(user_name(status.st_uid))} steplogd doctor; or another home"
    return f"chmod u+rwx {shlex.quote(str(home))}"


def _private(home: Path, status: os.stat_result) -> Iterator[Finding]:
    for folder in (home, spool_folder(home), catalog_folder(home)):
        quoted = shlex.quote(str(folder))
        if not folder.is_dir():
            continue
        if folder != home and is_shared(folder):
            mend = f"shared = true in the configuration, or chmod 700 {quoted}"
            yield warning(PERMISSIONS, f"{folder} is open to all, in a home not shared", mend)
        elif (mode := stat.S_IMODE(folder.stat().st_mode)) & _OPEN:
            text = f"{folder} is open to others (mode {mode:o}): what is tracked is theirs to see"
            yield warning(PERMISSIONS, text, f"chmod 700 {quoted}")


def _shared(home: Path, status: os.stat_result) -> Iterator[Finding]:
    is_ours = os.geteuid() in (0, status.st_uid)
    for trouble in troubles(home) if is_ours else ():  # it is no trouble of who tracks there
        text, _, mend = trouble.rstrip(".").partition(": ")
        yield Finding(PERMISSIONS, "wrong", text, mend or text, bars_start=True)
    for name, right in _SHARED_MODES.items():
        folder = home / name
        if folder.is_dir() and (mode := stat.S_IMODE(folder.stat().st_mode)) != right:
            text = f"users cannot share {folder} with mode {mode:o}"
            mend = f"chmod {right:o} {shlex.quote(str(folder))}, or start steplogd, which does that"
            yield warning(PERMISSIONS, text, mend)


def _foreign(home: Path, status: os.stat_result) -> Iterator[Finding]:
    """Find what root has left, say, when it ran a command in somebody's home."""
    foreign = _not_of(status.st_uid, home)
    if foreign:
        owner = user_name(status.st_uid)
        more = " …" if len(foreign) > _MOST_NAMED else ""
        names = f"{', '.join(sorted(foreign)[:_MOST_NAMED])}{more}"
        text = f"in {home}, of user {owner}, these belong to another user: {names}"
        whom, quoted = shlex.quote(owner.removeprefix("#")), shlex.quote(str(home))
        yield wrong(PERMISSIONS, text, f"sudo chown --no-dereference {whom} {quoted}/*")


def _not_of(uid: int, home: Path) -> list[str]:
    """Return the names of what belongs to others; none where they are not for us to see."""
    try:
        with os.scandir(home) as entries:
            found = list(entries)
    except PermissionError:
        return []
    names = []
    for entry in found:
        with contextlib.suppress(FileNotFoundError):  # SQLite's own come and go
            if entry.stat(follow_symlinks=False).st_uid != uid:
                names.append(entry.name)
    return names
