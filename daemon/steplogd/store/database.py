"""The SQLite file: opened, its schema made or checked, and written by one transaction at a time."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
from importlib import resources
from typing import TYPE_CHECKING, Final

from steplog.home import make_folder, open_private
from steplogd.store.breakage import (
    StoreBusy,
    StoreError,
    StoreReplaced,
    StoreUnusable,
    sorted_error,
    with_sidecars,
)
from steplogd.store.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION: Final = 3
_BUSY_SECONDS: Final = 5.0
_COUNT_TABLES: Final = "SELECT count(*) FROM sqlite_master"

__all__ = ["SCHEMA_VERSION", "Database", "StoreBusy", "StoreError", "StoreUnusable"]


class Database:
    """A connection to write with and one to read with, each used by one thread at a time.

    WAL with synchronous=NORMAL: a commit survives the kill of any process; a power cut may take the
    last commits, each as a whole, and they are folded again from the spools.

    Attributes:
        path: The file.
        had_wal: Whether there was a WAL before this opened it.

    Args:
        path: The file; made when absent, readable by its owner alone.
        is_onlooker: Nothing will be written by this one. The WAL that a killed daemon left stays
            as it is, so that the next daemon finds it.
        patience_seconds: How long to wait, while it is opened, for somebody who has it locked.
        is_frozen: Nobody writes it now, and it has no WAL: an onlooker makes no file beside it.

    Raises:
        StoreUnusable: It is of another version, or no SQLite file.
        StoreBusy: Another program has it locked.
        StoreError: It cannot be written, say.
        OSError: It cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        is_onlooker: bool = False,
        patience_seconds: float = _BUSY_SECONDS,
        is_frozen: bool = False,
    ) -> None:
        self.path = path
        self._write_lock = Turns()
        self._read_lock = Turns()
        self._broken: StoreUnusable | None = None
        make_folder(path.parent)
        if not (is_onlooker and _has_content(path)):
            is_onlooker = False  # somebody has to make it
            with contextlib.suppress(IsADirectoryError):
                # A pipe would block whoever opens it.
                flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
                os.close(open_private(path, flags))
        if not stat.S_ISREG(path.stat().st_mode):
            raise StoreUnusable(f"{path} is no file")
        self.had_wal = _has_content(with_sidecars(path)[1])
        self._files: dict[Path, os.stat_result] = {}
        with contextlib.ExitStack() as opened:
            try:
                mode = "rw"
                if is_onlooker:
                    mode = "ro&immutable=1" if is_frozen else "ro"
                connect = functools.partial(self._connect, patience_seconds, mode)
                self._writer = opened.enter_context(contextlib.closing(connect()))
                self._make_schema(is_onlooker=is_onlooker)
                self._reader = opened.enter_context(contextlib.closing(connect()))
            except sqlite3.Error as error:
                raise sorted_error(path, error) from error
            files = [path] if is_onlooker else with_sidecars(path)
            self._files = {file: file.stat() for file in files if file.exists()}
            opened.pop_all()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write within one transaction: committed when the block ends, undone when it raises.

        Raises:
            StoreError: It could not be committed.
            StoreUnusable: The file is not there any more, or broken.
        """
        with self._write_lock:
            self._check_present()
            try:
                with self._write_lock.patience():
                    self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._noted(sorted_error(self.path, error)) from error
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read what is committed.

        Raises:
            StoreError: It could not be read.
            StoreUnusable: The file is not there any more, or broken.
        """
        with self._read_lock:
            self._check_present()
            try:
                yield self._reader
            except sqlite3.Error as error:
                raise self._noted(sorted_error(self.path, error)) from error

    def check(self) -> None:
        """See that the file is still there, and that nobody has found it broken.

        Raises:
            StoreUnusable: It is not, or somebody has: in another thread, say, that tries again.
        """
        if self._broken is not None:
            raise self._broken
        self._check_present()

    def blame(self, error: sqlite3.Error) -> None:
        """Raise `StoreUnusable` for an error by which another connection found it broken."""
        if isinstance(found := self._noted(sorted_error(self.path, error)), StoreUnusable):
            raise found from error

    def check_sound(self) -> None:
        """Read the whole file, and see that its structure is in order; raises as `reading`."""
        with self.reading() as connection, self._read_lock.patience():
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise self._noted(StoreUnusable(f"{self.path} is broken ({found})"))

    def have_turn(self) -> None:
        """Wait until nobody writes, and then until nobody reads."""
        for lock in (self._write_lock, self._read_lock):
            with lock:
                pass

    def pulse(self, thread: int) -> object:
        """Return what changes for as long as a thread gets nearer to a turn that it waits for."""
        return self._write_lock.pulse(thread), self._read_lock.pulse(thread)

    def put_down(self) -> None:
        """Bring what is committed from the WAL into the file itself, as far as readers let it."""
        with self._write_lock, contextlib.suppress(sqlite3.OperationalError):
            self._writer.execute("PRAGMA wal_checkpoint(FULL)").fetchall()

    def make_durable(self) -> bool:
        """Bring all that is committed into the file itself, and sync it; tell whether that is done.

        Neither a power cut nor the loss of the WAL takes any of it then. It is not done while
        somebody reads what was there before; nobody waits for that, or it would hold up who writes.
        SQLite syncs the file: opened here, closing it would drop SQLite's locks on it.

        Raises:
            StoreError: It cannot be written.
            StoreUnusable: The file is not there any more, or broken.
        """
        with self._write_lock, self._read_lock:
            self.check()
            try:
                sql = "PRAGMA wal_checkpoint(PASSIVE)"
                is_busy, in_wal, put_down = self._writer.execute(sql).fetchone()
            except sqlite3.Error as error:
                raise self._noted(sorted_error(self.path, error)) from error
        return not is_busy and in_wal == put_down

    def close(self) -> None:
        """Close both connections; waits for a transaction that is under way."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def _connect(self, patience_seconds: float, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=patience_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if mode == "rw":
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_COUNT_TABLES).fetchone()
            connection.execute(f"PRAGMA busy_timeout = {round(_BUSY_SECONDS * 1000)}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_present(self) -> None:
        """Refuse a file that was deleted or replaced: nobody would ever see what is written there.

        So it is with its WAL, which holds the last commits, and with the locks beside it.
        """
        for path, file in self._files.items():
            try:
                is_present = os.path.samestat(path.stat(), file)
            except OSError:
                is_present = False
            if not is_present:
                raise self._noted(
                    StoreReplaced(f"{path} was deleted or replaced while it was in use")
                )

    def _noted(self, error: StoreError) -> StoreError:
        if isinstance(error, StoreUnusable):
            self._broken = error
        return error

    def _make_schema(self, *, is_onlooker: bool) -> None:
        if self._has_schema(self._writer) and (is_onlooker or _is_whole(self._writer)):
            return
        with self.transaction() as connection:
            if not self._has_schema(connection):  # else somebody else has made it just now
                _execute(connection, "schema.sql")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            if not _is_whole(connection):
                _execute(connection, "archive.sql")

    def _has_schema(self, connection: sqlite3.Connection) -> bool:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise StoreUnusable(
                f"{self.path} is of schema version {version}, and this steplogd writes version "
                f"{SCHEMA_VERSION}"
            )
        (tables,) = connection.execute(_COUNT_TABLES).fetchone()
        if version == 0 and tables:
            raise StoreUnusable(f"{self.path} is a database of another program")
        return bool(version)


def _is_whole(connection: sqlite3.Connection) -> bool:
    """Tell whether a store has the tables that came later than its version."""
    sql = "SELECT 1 FROM sqlite_master WHERE name = 'archived'"
    return connection.execute(sql).fetchone() is not None


def _execute(connection: sqlite3.Connection, name: str) -> None:
    statements = resources.files("steplogd.store").joinpath(name).read_text("utf-8")
    for statement in statements.split(";\n"):
        connection.execute(statement)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
