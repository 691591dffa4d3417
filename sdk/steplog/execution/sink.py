"""The sink: where the shells of a command append their environment, in memory and on no disk."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from steplog.execution.exports import variables_of
from steplog.execution.quoting import exported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplog.execution.exports import Variable

_CHUNK_BYTES: Final = 1024 * 1024
_FREED_AT_BYTES: Final = 16 * _CHUNK_BYTES
"""How much may have been taken before its memory is given back."""

_KEEP_SIZE_AND_PUNCH_HOLE: Final = 0x01 | 0x02
"""What `fallocate` calls FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE."""

_LISTINGS: Final = (b"export ", b"declare ")
"""How the first line of `export -p` begins."""


class Sink:
    """A file without a name, which the descendants of this process append to.

    What they append is environments as the kernel keeps them, or `export -p` between two NULs where
    a value is too long for that.

    Attributes:
        address: What a shell needs to find it: the process, the descriptor, and when the process
            was started, which tells it from a later one of the same number.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("steplog-exec", os.MFD_CLOEXEC)
        self._offset = 0
        self._freed = 0
        self._rest = b""
        self.address = f"{os.getpid()} {self._file} {started(os.getpid())}"

    def take(self) -> Iterator[Variable]:
        """Yield the variables that were appended since the last call, in their order."""
        while chunk := os.pread(self._file, _CHUNK_BYTES, self._offset):
            self._offset += len(chunk)
            whole, sign, self._rest = (self._rest + chunk).rpartition(b"\0")
            if sign:
                yield from _variables(whole)
            if self._offset - self._freed >= _FREED_AT_BYTES:
                self._free()

    def close(self) -> None:
        """Let go of the memory; a shell that comes later finds nothing to append to."""
        os.close(self._file)

    def _free(self) -> None:
        """Give back the memory of what was taken; who appends at the end is not disturbed."""
        taken = (self._freed, self._offset - self._freed)
        self._freed = self._offset
        with contextlib.suppress(ImportError, AttributeError, OSError):  # it is memory alone
            import ctypes

            fallocate = ctypes.CDLL(None).fallocate64
            fallocate(self._file, _KEEP_SIZE_AND_PUNCH_HOLE, *map(ctypes.c_int64, taken))


def started(pid: int) -> int:
    """Return when a process was started, in clock ticks since the machine was.

    Raises:
        OSError: There is no such process.
    """
    return int(stat_fields(pid)[19])


def stat_fields(pid: int) -> list[bytes]:
    """Return what `/proc` says of a process, from its state on (the third field of proc(5))."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # a path would cost more
        return file.read().rpartition(b") ")[2].split()


def _variables(appended: bytes) -> Iterator[Variable]:
    for entry in appended.split(b"\0"):
        if entry.startswith(_LISTINGS):
            yield from exported(entry)
        else:
            yield from variables_of(entry)
