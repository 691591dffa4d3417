"""Looks at the kernel's limits of inotify, by which the daemon hears that a spool has grown."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inotify_simple import INotify, flags

from steplog.home import spool_folder
from steplogd.doctor.finding import Finding, ok, skipped, user_name, warning, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.doctor.patient import Patient

CHECK: Final = "inotify"
_LIMITS: Final = Path("/proc/sys/fs/inotify")
_LINK: Final = "anon_inode:inotify"
_NEARLY: Final = 0.9

_LEAST: Final = {"max_user_instances": 128, "max_user_watches": 8192, "max_queued_events": 1024}
"""A home takes one instance and one watch; but a user's other programs have the same account, and a
shorter queue runs over with a few hundred writers, after which all spools are looked at."""

_BETTER: Final = {
    "max_user_instances": 1024,
    "max_user_watches": 524288,
    "max_queued_events": 16384,
}


def look(patient: Patient) -> Iterator[Finding]:
    """See that this user gets a watch, and how many of them there may be, and are."""
    try:
        limits = {name: int((_LIMITS / name).read_text()) for name in _LEAST}
    except (OSError, ValueError) as error:
        yield skipped(CHECK, f"the limits cannot be read in {_LIMITS} ({error})")
        return
    uid = _daemons_user(patient)
    user, used = user_name(uid), _instances(uid)
    most = limits["max_user_instances"]
    said = f"{used:,} of {most:,} instances of user {user} are in use"
    if used >= most:
        yield wrong(CHECK, f"the kernel gives no watch: {said}", _sysctl("max_user_instances"))
    elif uid == os.geteuid() and (trouble := _trouble(patient)) is not None:
        yield wrong(CHECK, f"the kernel gives no watch: {trouble}; {said}", _sysctl(trouble))
    elif used >= _NEARLY * most:
        yield warning(CHECK, f"{said}: a daemon may soon get none", _sysctl("max_user_instances"))
    else:
        yield ok(CHECK, said)
    for name, least in _LEAST.items():
        if limits[name] < least:
            text = f"fs.inotify.{name} is {limits[name]:,}, and {least:,} at least are usual"
            yield warning(CHECK, text, _sysctl(name))


def _daemons_user(patient: Patient) -> int:
    """Return whose limits count: the home's owner, where we are root, who sees all."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            return patient.home.stat().st_uid
    return os.geteuid()


def _trouble(patient: Patient) -> str | None:
    """Return the limit that is in the way of another watch of this user."""
    folder = next(
        path for path in (spool_folder(patient.home), *patient.home.parents) if _is_open(path)
    )
    try:
        with contextlib.closing(INotify(nonblocking=True)) as notifications:
            notifications.add_watch(folder, flags.CREATE | flags.ONLYDIR)
    except OSError as error:
        if error.errno == errno.EMFILE:
            return "max_user_instances"
        if error.errno == errno.ENOSPC:
            return "max_user_watches"
        raise
    return None


def _is_open(folder: Path) -> bool:
    return os.access(folder, os.R_OK)


def _sysctl(name: str) -> str:
    line = f"fs.inotify.{name}={_BETTER[name]}"
    # Added, as another limit may stand there; of two lines for one, the later counts.
    return f"echo {line} | sudo tee -a /etc/sysctl.d/60-steplog.conf && sudo sysctl {line}"


def _instances(uid: int) -> int:
    """Count the instances of a user, as far as his processes can be seen."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid == uid:
                count += sum(_is_instance(fd) for fd in (process / "fd").iterdir())
    return count


def _is_instance(fd: Path) -> bool:
    with contextlib.suppress(OSError):
        return str(fd.readlink()) == _LINK
    return False
