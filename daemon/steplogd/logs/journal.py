"""The journal's native protocol: an entry with fields, sent as one datagram.

It is systemd's "Native Journal Protocol". Written out here, as what packages there are need a
compiler and headers, or block for as long as the journal does not read: the daemon goes on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SOCKET: Final = "/run/systemd/journal/socket"

_PATIENCE_SECONDS: Final = 1.0
"""How long an entry waits for a journal that is busy; the next ones after it not at all."""

_GOOD_SECONDS: Final = 30.0
"""So long it has to take all entries until one waits for it again: a slow one would hold up the
daemon at every other."""

_TOO_LARGE: Final = (errno.EMSGSIZE, errno.ENOBUFS)
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class NotReading(OSError):
    """The journal did not take an entry in time; there is no use in waiting for it at once."""


class Journal:
    """Sends entries, each of which arrives whole or not at all; safe to use from any thread.

    Args:
        path: The journal's socket.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(self, path: str = SOCKET, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._good_since: float | None = float("-inf")
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def send(self, fields: Iterable[tuple[str, str]], *, is_patient: bool = True) -> None:
        """Send an entry; one that is too large for a datagram goes in a sealed file of memory.

        Args:
            fields: Names and values.
            is_patient: Whether it may wait for a journal that is busy, if that usually is not.

        Raises:
            NotReading: The journal does not read now.
            OSError: There is no journal.
        """
        entry = encode(fields)
        with self._lock:
            try:
                self._send(self._socket or self._connect(), entry, is_patient)
            except NotReading:
                raise
            except OSError:  # somebody has replaced the socket
                self._send(self._connect(), entry, is_patient)

    def close(self) -> None:
        """Close the socket."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        if self._socket is not None:
            self._socket.close()
        # Connected, as only then the kernel tells when there is room again.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.connect(self._path)
        return self._socket

    def _send(self, connected: socket.socket, entry: bytes, is_patient: bool) -> None:
        connected.settimeout(_PATIENCE_SECONDS if is_patient and self._is_good() else 0)
        try:
            try:
                connected.sendall(entry)
            except OSError as error:
                if error.errno not in _TOO_LARGE:
                    raise
                _send_file(connected, entry)
        except (TimeoutError, BlockingIOError) as error:
            self._good_since = None
            raise NotReading("the journal does not read") from error
        if self._good_since is None:
            self._good_since = self._clock()

    def _is_good(self) -> bool:
        since = self._good_since
        return since is not None and self._clock() - since >= _GOOD_SECONDS


def _send_file(connected: socket.socket, entry: bytes) -> None:
    descriptor = os.memfd_create("steplogd-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(entry)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)  # the journal takes no other
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))
        connected.sendmsg([b""], [rights])


def is_journal(stream: TextIO | None) -> bool:
    """Tell whether what is written to a stream goes to the journal, as systemd.exec(5) has it."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno()) if stream else None
    except (OSError, ValueError):  # closed, or none of the system's
        return False
    return status is not None and (device, inode) == (str(status.st_dev), str(status.st_ino))


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return an entry: `NAME=value` a line; a value of several lines has its length before it."""
    return b"".join(_field(name.encode("ascii"), _bytes(value)) for name, value in fields)


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name + b"=" + value + b"\n"


def _bytes(value: str) -> bytes:
    """Return what any text is in UTF-8; what came undecoded from a file name is as it was."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace")
