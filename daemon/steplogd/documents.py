"""Writes `runs/<run_id>.json`, whole and atomically, when a run has ended."""

from __future__ import annotations

import filecmp
import os
import sqlite3
import stat
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from steplog.home import document_path, make_folder, open_private, sync_folder
from steplog.run_log import write_run_log

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.home_disk import HomeDisk
    from steplogd.store.documents import Documents, Outdated


class DocumentWriter:
    """Writes the documents of ended runs; safe to use from any thread, one at a time goes on.

    Args:
        home: Where the documents lie.
        documents: The store, which knows what was written.
        disk: Where the documents go; while it is short, none is written.
    """

    def __init__(self, home: Path, documents: Documents, disk: HomeDisk) -> None:
        self._home = home
        self._documents = documents
        self._disk = disk
        self._lock = threading.Lock()

    def write_outdated(self) -> dict[str, str]:
        """Write every document that is missing or outdated; on return they are on disk.

        Returns:
            Why a document could not be written, by run id; that concerns no other document, but
            for what stands under "", which concerns all.

        Raises:
            StoreError: The store cannot be used now.
            StoreUnusable: It is broken.
        """
        unwritten: dict[str, str] = {}
        with self._lock:
            for run in self._documents.outdated():
                if reason := self._disk.shortage():
                    return unwritten | {"": reason}
                try:
                    self._write(run)
                except Exception as error:  # noqa: BLE001  # what one run holds may cost no other
                    if isinstance(error.__cause__, sqlite3.Error):
                        self._documents.blame(error.__cause__)
                    unwritten[run.run_id] = f"{type(error).__name__}: {error}"
                else:
                    self._documents.written(run.run_no, run.position, run.revision)
        return unwritten

    def _write(self, run: Outdated) -> None:
        path = document_path(self._home, run.run_id)
        make_folder(path.parent)
        unfinished = path.with_name(f".{path.name}.tmp")
        try:
            with open(unfinished, "w", encoding="utf-8", opener=open_private) as file:
                write_run_log(self._home, run.run_id, file.write)
                file.flush()
                os.fsync(file.fileno())
            if run.is_first:
                _keep_earlier(path, unfinished)
            unfinished.replace(path)
            sync_folder(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)


def _keep_earlier(path: Path, unfinished: Path) -> None:
    """Give a document another name that another store wrote, and that says anything else.

    It may tell of what this store has not: a store was lost, and a spool that it was folded from
    had been removed by then. Who it was that wrote it cannot be told, nor by times that it is more.
    """
    try:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) or filecmp.cmp(path, unfinished, shallow=False):
            return
    except FileNotFoundError:
        return
    when = datetime.fromtimestamp(status.st_mtime, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path.rename(path.with_name(f"{path.stem}.before-{when}.json"))
