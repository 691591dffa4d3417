"""The log of a task: all that its commands printed, as a file in the run's catalog."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from steplog.errors import NoRoom
from steplog.execution.warning import warn
from steplog.home import (
    catalog_folder,
    is_ours,
    is_shared,
    is_taken,
    make_folder,
    open_private,
)
from steplog.room import Room
from steplog.spool import stand_ins

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX: Final = ".execution.log"
_LONGEST_NAME: Final = 255
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Log:
    """Appends what is printed, attempt after attempt; a full disk costs what is not in it, alone.

    Args:
        home: Where the catalog lies; made when absent.
        run_id: The run.
        path: The task.

    Raises:
        OSError: There can be no such file.
    """

    def __init__(self, home: Path, run_id: str, path: tuple[str, ...]) -> None:
        self._catalog = catalog_folder(home)
        self._name = log_name(path)
        make_folder(home)
        make_folder(self._catalog)
        self._folder, self._file = self._open(run_id)
        self._room = Room()
        self._is_failed = False

    def _open(self, run_id: str) -> tuple[str, int]:
        """Open the file in the folder of the run, or in another where that is not ours."""
        for name in stand_ins(run_id):
            folder = self._catalog / name
            if is_taken(folder, stat.S_ISDIR):
                continue
            make_folder(folder)
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                # It may have been another user's, who was faster just now.
                if is_ours(os.fstat(fd), stat.S_ISDIR) or not is_shared(self._catalog):
                    return name, open_private(self._name, _FLAGS, fd)
            finally:
                os.close(fd)
        raise OSError(errno.EEXIST, "all folders that it could lie in are another user's")

    def write(self, printed: bytes) -> None:
        """Append; from the first failure on, which is warned of, no more.

        A disk that is full but for the last `min_free` is such a failure.
        """
        if self._is_failed:
            return
        try:
            self._room.claim(self._file, len(printed))
            while printed:
                printed = printed[os.write(self._file, printed) :]
        except (OSError, NoRoom) as error:
            self._is_failed = True
            reason = error.strerror if isinstance(error, OSError) else error
            warn(
                f"what the command prints is no longer kept in {self._name} ({reason}), "
                "and the command goes on; see that the disk has room"
            )

    def close(self) -> dict[str, Any]:
        """Close the file, and return what an entry of the catalog says of it.

        Raises:
            OSError: It cannot be read back.
        """
        digest = hashlib.sha256()
        try:
            offset = 0
            while chunk := os.pread(self._file, 1024 * 1024, offset):
                digest.update(chunk)
                offset += len(chunk)
        finally:
            os.close(self._file)
        return {
            "name": self._name,
            "data_hash": digest.hexdigest(),
            "catalog_relative_path": f"{self._folder}/{self._name}",
            "catalog_handler_location": str(self._catalog),
            "stage": "put",
        }


def log_name(path: tuple[str, ...]) -> str:
    """Return the file name of a task's log: its dotted name, `_` for spaces, `%` for the unfit.

    Tasks that differ in that alone share a log, and the hash in the entry of the one that ended
    first is that of what the log was then.
    """
    name = "".join(map(_fit, ".".join(path).replace(" ", "_")))
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    room = _LONGEST_NAME - len(_SUFFIX)
    encoded = os.fsencode(name)
    if len(encoded) > room:  # cut, and still told from others that begin alike
        mark = hashlib.sha256(encoded).hexdigest()[:16]
        name = f"{encoded[: room - 17].decode(errors='ignore')}-{mark}"
    return name + _SUFFIX


def _fit(character: str) -> str:
    if character.isprintable() and character not in "/%":
        return character
    return "".join(f"%{byte:02X}" for byte in os.fsencode(character))
