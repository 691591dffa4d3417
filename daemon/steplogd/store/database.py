"""The SQLite file: opened, its schema made or checked, and written by one transaction at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from importlib import resources
from typing import TYPE_CHECKING, Final

from steplog.home import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION: Final = 2
_BUSY_SECONDS: Final = 5.0


class StoreError(Exception):
    """The store cannot be used now (a full disk, a lock); what was not committed is redone."""


class StoreUnusable(StoreError):
    """The store cannot be used by this version at all; the text says what to do."""


class Database:
    """A connection to write with and one to read with, each used by one thread at a time.

    WAL with synchronous=NORMAL: a commit survives the kill of any process; a power cut may take the
    last commits, each as a whole, and they are folded again from the spools.

    Args:
        path: The file; made when absent, readable by its owner alone.

    Raises:
        StoreUnusable: It is of another version, or no SQLite file.
        StoreError: It is locked, say, or cannot be written.
        OSError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        make_folder(path.parent)
        path.touch(mode=0o600)
        self._file = path.stat()
        with contextlib.ExitStack() as opened:
            try:
                self._writer = opened.enter_context(contextlib.closing(self._connect()))
                self._make_schema()
                self._reader = opened.enter_context(contextlib.closing(self._connect()))
            except sqlite3.Error as error:
                raise _sorted(path, error) from error
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
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise _sorted(self.path, error) from error
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read what is committed.

        Raises:
            StoreError: It could not be read.
        """
        with self._read_lock:
            try:
                yield self._reader
            except sqlite3.Error as error:
                raise _sorted(self.path, error) from error

    def close(self) -> None:
        """Close both connections; waits for a transaction that is under way."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _check_present(self) -> None:
        """Refuse to write into a file that was deleted or replaced: nobody would ever see it."""
        try:
            is_present = os.path.samestat(self.path.stat(), self._file)
        except FileNotFoundError:
            is_present = False
        if not is_present:
            raise StoreUnusable(
                f"{self.path} was deleted or replaced: start steplogd again, "
                "and the run logs are folded again from the spools."
            )

    def _make_schema(self) -> None:
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        if version != 0:
            raise StoreUnusable(
                f"{self.path} is of schema version {version}, this steplogd writes version "
                f"{SCHEMA_VERSION}: use the steplogd that wrote it, or move the file away."
            )
        schema = resources.files("steplogd.store").joinpath("schema.sql").read_text("utf-8")
        with self.transaction() as connection:
            for statement in schema.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _sorted(path: Path, error: sqlite3.Error) -> StoreError:
    """Tell what passes by itself from what does not."""
    if getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreUnusable(
            f"{path} cannot be used as the run log store ({error}): "
            "move it away, and the run logs are folded again from the spools."
        )
    return StoreError(f"{path} cannot be used now: {error}.")
