"""Notices, by the kernel, whoever opens, reads or changes anything in a folder: for tests."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_ALL: Final = 0x00000FFF
"""IN_ALL_EVENTS: access, modify, attrib, close, open, moved, create, delete."""

_HEAD: Final = struct.Struct("iIII")
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Touches:
    """Everything that happens in one folder, and to it, from now on."""

    def __init__(self, folder: Path) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0 or _libc.inotify_add_watch(self._fd, bytes(folder), _ALL) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def names(self) -> set[str]:
        """Return what was touched since the last call; "." is the folder itself."""
        found: set[str] = set()
        while True:
            try:
                told = os.read(self._fd, 65_536)
            except BlockingIOError:
                return found
            while told:
                _, _, _, length = _HEAD.unpack_from(told)
                name = told[_HEAD.size : _HEAD.size + length].rstrip(b"\0")
                found.add(os.fsdecode(name) or ".")
                told = told[_HEAD.size + length :]

    def close(self) -> None:
        """Stop to look."""
        os.close(self._fd)
