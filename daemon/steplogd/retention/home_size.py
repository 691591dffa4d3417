"""How much a home takes on its disk, all files in it together."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BLOCK_BYTES: Final = 512  # of st_blocks, on every file system

_AT_ONCE: Final = 1000
_PAUSE_SECONDS: Final = 0.01


def taken_by(status: os.stat_result) -> int:
    """Return what a file takes on the disk."""
    return status.st_blocks * _BLOCK_BYTES


def taken_bytes(home: Path, is_stopping: Callable[[], bool]) -> int:
    """Return what all files below a home take on the disk; pauses now and then, there may be many.

    Links are not followed, what cannot be looked at does not count, and a file with two names
    counts twice. When it is time to stop, what was found so far is returned.
    """
    found = 0
    for count, entry in enumerate(_entries(home)):
        with contextlib.suppress(OSError):  # gone since
            found += taken_by(entry.stat(follow_symlinks=False))
        if count % _AT_ONCE == _AT_ONCE - 1:
            time.sleep(_PAUSE_SECONDS)
            if is_stopping():
                break
    return found


def _entries(home: Path) -> Iterator[os.DirEntry[str]]:
    folders = [str(home)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
