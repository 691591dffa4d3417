"""Looks at the spools: whether each can be read, by the daemon's user too."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
import time
from typing import TYPE_CHECKING, Final

from steplog.cli.terminal import counted
from steplog.home import spool_folder, spool_path
from steplogd.doctor.finding import Finding, ok, skipped, user_name, warning
from steplogd.intake.tail import read_chunk, run_id_of, scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.doctor.patient import Patient

CHECK: Final = "spools"
_LONG_SECONDS: Final = 2.0
"""After so long no further spool is opened: there may be hundreds of thousands."""


def look(patient: Patient) -> Iterator[Finding]:
    """Open every spool, as far as there is time, and read the last of it."""
    folder = spool_folder(patient.home)
    try:
        if not folder.exists():
            yield ok(CHECK, "none yet")
            return
        found = list(scan(folder))
    except PermissionError:
        yield skipped(CHECK, f"{folder} is not for this user to list")
        return
    except OSError as error:
        mend = f"move it away: mv {shlex.quote(str(folder))} {shlex.quote(f'{folder}.old')}"
        yield Finding(CHECK, "wrong", f"{folder} cannot be read ({error.strerror or error})", mend)
        return
    unreadable, looked_at = _unreadable(patient.home, found)
    unreadable |= _no_files(folder, {run_id for run_id, _ in found})
    for run_id, why in list(unreadable.items())[:1]:
        path = spool_path(patient.home, run_id)
        text = f"{counted(len(unreadable), 'spool')} cannot be read, such as {path} ({why})"
        yield warning(CHECK, text, f"see whose it is, and what: ls -l {shlex.quote(str(path))}")
    if not unreadable:
        part = "" if looked_at == len(found) else f", of which the first {looked_at:,} were read"
        yield ok(CHECK, f"{counted(len(found), 'spool')}{part}")


def _unreadable(home: Path, found: list[tuple[str, os.stat_result]]) -> tuple[dict[str, str], int]:
    """Return why spools cannot be read, and how many were looked at."""
    reader, until = _reader(home), time.monotonic() + _LONG_SECONDS
    unreadable: dict[str, str] = {}
    for number, (run_id, status) in enumerate(found):
        if time.monotonic() > until:
            return unreadable, number
        try:
            read_chunk(spool_path(home, run_id), status.st_size)
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable[run_id] = f"{error.strerror or error}"
        else:
            if reader is not None and not _may_read(*reader, status):
                unreadable[run_id] = f"not for the daemon's user {user_name(reader[0])}"
    return unreadable, len(found)


def _no_files(folder: Path, spools: set[str]) -> dict[str, str]:
    """Find what has a spool's name and is none: links, pipes, folders."""
    with os.scandir(folder) as entries:
        names = [run_id for entry in entries if (run_id := run_id_of(entry.name))]
    no_files = (name for name in names if name not in spools)
    return {name: "it is no file" for name in no_files if not _is_file(folder / f"{name}.jsonl")}


def _is_file(path: Path) -> bool:
    """Tell whether it is one; so is one that is gone, or that was made meanwhile."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _reader(home: Path) -> tuple[int, set[int]] | None:
    """Return the daemon's user and groups, where we are root, who can read whatever there is."""
    owner = home.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return None
    try:
        user = pwd.getpwuid(owner.st_uid)
    except KeyError:
        return owner.st_uid, {owner.st_gid}
    return owner.st_uid, {owner.st_gid, *os.getgrouplist(user.pw_name, user.pw_gid)}


def _may_read(uid: int, groups: set[int], status: os.stat_result) -> bool:
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IRUSR)
    if status.st_gid in groups:
        return bool(status.st_mode & stat.S_IRGRP)
    return bool(status.st_mode & stat.S_IROTH)
