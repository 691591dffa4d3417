"""What may be wrong with a store, and how one that is broken is set aside."""

from __future__ import annotations

import contextlib
import datetime
import os
import sqlite3
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_BROKEN: Final = {
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_CONSTRAINT,  # its tables contradict one another
}
_BROKEN_TEXTS: Final = ("no such table", "no such column", "Could not decode")
_PRIMARY: Final = 0xFF  # SQLite's extended codes have more bits


class StoreError(Exception):
    """The store cannot be used now (a full disk, a lock); what was not committed is redone."""


class StoreBusy(StoreError):
    """Another program has the store locked."""


class StoreUnusable(StoreError):
    """The store cannot be used by this version at all; its text says why.

    Whoever holds the home sets it aside. Anybody else may say `ADVICE` after the text.
    """

    ADVICE: Final = (
        "start `steplogd run`, or `steplogd drain`: it sets the file aside, "
        "and folds the run logs again from the spools"
    )


class StoreReplaced(StoreUnusable):
    """The store that was opened is not the one that lies there now."""


def sorted_error(path: Path, error: sqlite3.Error) -> StoreError:
    """Tell what passes by itself from what does not."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code in _BROKEN or str(error).startswith(_BROKEN_TEXTS):
        return StoreUnusable(f"{path} cannot be used as the run log store ({error})")
    if code in _BUSY:
        return StoreBusy(f"{path} cannot be used now: another program has it locked ({error}).")
    return StoreError(f"{path} cannot be used now: {error}.")


def with_sidecars(path: Path) -> list[Path]:
    """Return the file, its WAL, and the locks and index beside it."""
    return [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]


def is_damaged(path: Path) -> bool:
    """Read a whole store, and tell whether it is broken; not so when that cannot be told."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return isinstance(sorted_error(path, error), StoreUnusable)
    return bool(found != "ok")


def set_aside(path: Path) -> Path | None:
    """Give a store another name, with all that belongs to it; to be used by the home's holder.

    A set-aside store can be opened as it is. Nothing is overwritten.

    Returns:
        Where it lies now; None if nothing was there.

    Raises:
        OSError: It cannot be renamed.
    """
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    names = [
        f"{path.name}.broken-{now}{suffix}" for suffix in ("", *map(".{}".format, range(2, 99)))
    ]
    free = next(path.with_name(name) for name in names if not _is_any_there(path.with_name(name)))
    # The file itself comes last: SQLite deletes a WAL that it finds without it.
    for source, target in reversed(
        list(zip(with_sidecars(path), with_sidecars(free), strict=True))
    ):
        with contextlib.suppress(FileNotFoundError):
            source.rename(target)
    return free if os.path.lexists(free) else None


def _is_any_there(path: Path) -> bool:
    return any(os.path.lexists(file) for file in with_sidecars(path))
