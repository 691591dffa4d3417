"""Looks at the store: whether it is of this version, sound, and read beside its daemon."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import threading
import time
from typing import TYPE_CHECKING, Final

from steplog.home import database_path
from steplogd.doctor.finding import Finding, ok, skipped, warning, wrong
from steplogd.store.breakage import StoreBusy, StoreError, StoreUnusable, with_sidecars
from steplogd.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.doctor.patient import Patient

CHECK: Final = "store"
LOOK_SECONDS: Final = 2.0
"""How long its structure is gone through: one of gigabytes would take minutes, as would its daemon
to bring what it writes meanwhile into the file."""

_STEPS: Final = 10_000
_PATIENCE_SECONDS: Final = 1.0
_VERSIONS: Final = slice(18, 20)
_WAL: Final = b"\x02\x02"
"""The bytes in an SQLite file by which whoever writes and reads it uses a WAL."""


def look(patient: Patient) -> Iterator[Finding]:
    """Open the store so that nothing is changed, and see that it is sound."""
    path = database_path(patient.home)
    try:
        opened = open_store(patient)
    except StoreUnusable as error:
        yield wrong(CHECK, str(error), error.ADVICE)
    except StoreBusy as error:
        yield warning(CHECK, str(error).rstrip("."), f"see who has it: fuser {path}")
    except (StoreError, OSError) as error:
        yield _unreadable(path, error)
    else:
        if opened is None:
            yield ok(CHECK, f"{path} is not there yet")
            return
        with contextlib.closing(opened):
            yield from _look_into(opened)
    yield from _set_aside(path)


def open_store(patient: Patient) -> Database | None:
    """Open the store, and make or change nothing; None where there is none yet.

    Raises:
        StoreError: It cannot be read.
        OSError: It is not for this user to see.
    """
    path = database_path(patient.home)
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            return None
    except FileNotFoundError:
        return None
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    # Where there is no WAL nobody writes, and SQLite would make one for us too, and leave it.
    has_wal = with_sidecars(path)[1].exists()
    return Database(
        path, is_onlooker=True, patience_seconds=_PATIENCE_SECONDS, is_frozen=not has_wal
    )


def _look_into(database: Database) -> Iterator[Finding]:
    path = database.path
    with path.open("rb") as file:
        journal = file.read(_VERSIONS.stop)[_VERSIONS]
    if journal != _WAL:
        text = f"{path} is written without a WAL, so that readers and the daemon block each other"
        yield warning(CHECK, text, "start steplogd anew: it sets that again")
    try:
        with database.reading() as connection:
            is_whole = _is_sound(connection, path)
            (runs,) = connection.execute("SELECT count(*) FROM run").fetchone()
    except StoreUnusable as error:
        yield wrong(CHECK, str(error), error.ADVICE)
        return
    except StoreError as error:
        yield _unreadable(path, error)
        return
    part = "sound" if is_whole else f"sound as far as could be read in {LOOK_SECONDS:g} s"
    yield ok(CHECK, f"{path}, {path.stat().st_size:,} bytes, is {part}; runs: {runs:,}")


def _is_sound(connection: sqlite3.Connection, path: Path) -> bool:
    """Go through the file's structure; False when it was too large for that.

    Raises:
        StoreUnusable: It is broken.
    """
    until = time.monotonic() + LOOK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    # Before 3.41 SQLite calls no handler as long as it goes through the pages of its tables.
    late = threading.Timer(LOOK_SECONDS, connection.interrupt)
    late.start()
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return False
        raise
    finally:
        connection.set_progress_handler(None, 0)
        late.cancel()
        late.join()  # or it interrupts what is asked next
    if found != "ok":
        raise StoreUnusable(f"{path} is broken ({found})")
    return True


def _unreadable(path: Path, error: Exception) -> Finding:
    if isinstance(error, PermissionError):
        return skipped(CHECK, f"{path} is not for this user to read")
    reason = str(error).removeprefix(f"{path} cannot be used now: ").rstrip(".")
    mend = f"see that this user can read it: ls -l {path}*"
    return warning(CHECK, f"{path} cannot be read now ({reason})", mend)


def _set_aside(path: Path) -> Iterator[Finding]:
    """Name the broken ones of before: nobody else removes them."""
    with contextlib.suppress(OSError):
        broken = sorted(path.parent.glob(f"{path.name}.broken-*"))
        if broken:
            text = f"a store was found broken and set aside, last as {broken[-1]}"
            mend = f"when its runs are all there (`steplog ls`): rm {path}.broken-*"
            yield warning(CHECK, text, mend)
