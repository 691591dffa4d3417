"""A journal for tests: a real socket that takes entries as journald does, and reads them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ALL_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_MOST_BYTES: Final = 1 << 20
_PATIENCE_SECONDS: Final = 20.0

Entry = dict[str, list[bytes]]
"""The values of each field."""


class FakeJournal:
    """Listens at a path, and parses what arrives by the letter of the protocol."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.files = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(_PATIENCE_SECONDS)

    def next(self) -> Entry:
        """Wait for an entry."""
        data, descriptors, _, _ = socket.recv_fds(self._socket, _MOST_BYTES, 1)
        for descriptor in descriptors:
            with os.fdopen(descriptor, "rb") as file:
                assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == _ALL_SEALS
                assert not data
                data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
                self.files += 1
        return parse(data)

    def waiting(self) -> list[Entry]:
        """Return the entries that are there."""
        found = []
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.next())
        self._socket.settimeout(_PATIENCE_SECONDS)
        return found

    def close(self) -> None:
        """Stop to listen, and leave the socket's name where it is, as a crash does."""
        self._socket.close()


@contextlib.contextmanager
def journal(path: Path) -> Iterator[FakeJournal]:
    """Listen for the block's duration."""
    listening = FakeJournal(path)
    try:
        yield listening
    finally:
        listening.close()


def parse(data: bytes) -> Entry:
    """Return the fields of an entry: `NAME=value`, or a name, eight bytes of length, the value."""
    fields: Entry = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            data = rest
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            value, end, data = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
        fields.setdefault(name.decode("ascii"), []).append(value)
    return fields
