"""A pack: many objects in one file, found by its index, most of them as deltas to others.

It is read at offsets, not mapped into memory: a file that somebody cuts off then is an error, and
not the signal that would end the training.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, Final

from steplog.git.bounds import Unreadable, open_regular
from steplog.git.numbers import read_number, read_offset, read_sparse

if TYPE_CHECKING:
    from pathlib import Path

    from steplog.git.bounds import Deadline

MAX_OBJECT_BYTES: Final = 16 * 2**20
"""The largest commit or tree that is read: a folder of some 300,000 names."""

_KINDS: Final = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_OFFSET_DELTA: Final = 6
_NAME_DELTA: Final = 7
_INDEX_START: Final = b"\xfftOc\x00\x00\x00\x02"
_FANOUT_END: Final = len(_INDEX_START) + 256 * 4
_IS_LARGE_OFFSET: Final = 1 << 31
_MAX_ENTRY_HEADER_BYTES: Final = 64
_CHUNK_BYTES: Final = 64 * 1024


class Pack:
    """A pack and its index, open until `close`."""

    def __init__(self, index: Path, hash_bytes: int, deadline: Deadline) -> None:
        self._hash_bytes = hash_bytes
        self._deadline = deadline
        self._index = open_regular(index)
        try:
            self._pack = open_regular(index.with_suffix(".pack"))
        except BaseException:
            os.close(self._index)
            raise
        head = os.pread(self._index, _FANOUT_END, 0)
        if not head.startswith(_INDEX_START) or len(head) < _FANOUT_END:
            self.close()
            raise Unreadable(f"{index.name} is no pack index of version 2")
        self._fanout = (0, *struct.unpack_from(">256I", head, len(_INDEX_START)))

    def close(self) -> None:
        """Let go of both files."""
        os.close(self._index)
        os.close(self._pack)

    def find(self, oid: bytes) -> int | None:
        """Return where the entry of an object begins in the pack; None when it is not in it."""
        low, high = self._fanout[oid[0]], self._fanout[oid[0] + 1]
        while low < high:
            middle = (low + high) // 2
            name = self._look_up(self._hash_bytes, _FANOUT_END, middle)
            if name == oid:
                return self._offset(middle)
            if name < oid:
                low = middle + 1
            else:
                high = middle
        return None

    def read(self, offset: int) -> tuple[str, bytes]:
        """Return the kind and the content of the entry that begins there."""
        deltas: list[bytes] = []
        while True:
            self._deadline.check()
            kind, size, head, used = self._entry(offset)
            if kind == _OFFSET_DELTA:
                back, used = read_offset(head, used)
                deltas.append(self._inflate(offset + used, size))
                offset -= back
            elif kind == _NAME_DELTA:
                base = self.find(head[used : used + self._hash_bytes])
                deltas.append(self._inflate(offset + used + self._hash_bytes, size))
                if base is None:
                    raise Unreadable("a pack refers to an object that is not in it")
                offset = base
            else:
                break
        content = self._inflate(offset + used, size)
        while deltas:
            content = _apply_delta(content, deltas.pop(), self._deadline)
        return _KINDS.get(kind, ""), content

    def _look_up(self, size: int, table: int, position: int) -> bytes:
        return os.pread(self._index, size, table + position * size)

    def _offset(self, position: int) -> int:
        count = self._fanout[-1]
        offsets = _FANOUT_END + count * (self._hash_bytes + 4)  # past the names and checksums
        (offset,) = struct.unpack(">I", self._look_up(4, offsets, position))
        if offset & _IS_LARGE_OFFSET:
            large = self._look_up(8, offsets + count * 4, offset & ~_IS_LARGE_OFFSET)
            (offset,) = struct.unpack(">Q", large)
        return int(offset)

    def _entry(self, offset: int) -> tuple[int, int, bytes, int]:
        """Return an entry's kind and inflated size, its first bytes, and how many say that."""
        head = os.pread(self._pack, _MAX_ENTRY_HEADER_BYTES, offset)
        byte, used, shift = head[0], 1, 4
        kind, size = byte >> 4 & 7, byte & 15
        while byte & 0x80:
            byte = head[used]
            size |= (byte & 0x7F) << shift
            used, shift = used + 1, shift + 7
        return kind, size, head, used

    def _inflate(self, offset: int, size: int) -> bytes:
        if size > MAX_OBJECT_BYTES:
            raise Unreadable(f"an object takes more than {MAX_OBJECT_BYTES:,} bytes")
        stream = zlib.decompressobj()
        content = b""
        while not stream.eof and len(content) <= size:
            chunk = os.pread(self._pack, min(size + 64, _CHUNK_BYTES), offset)
            if not chunk:
                break
            content += stream.decompress(chunk, size + 1 - len(content))
            offset += len(chunk)
        if len(content) != size:
            raise Unreadable("an object in a pack is cut off")
        return content


def _apply_delta(base: bytes, delta: bytes, deadline: Deadline) -> bytes:
    """Return what a delta makes of its base: pieces of the base, and pieces of its own."""
    base_size, at = read_number(delta, 0)
    size, at = read_number(delta, at)
    if base_size != len(base) or size > MAX_OBJECT_BYTES:
        raise Unreadable("a delta in a pack does not fit its base")
    pieces: list[bytes] = []
    while at < len(delta):
        deadline.check()
        command = delta[at]
        at += 1
        if command & 0x80:
            start, at = read_sparse(delta, at, command, 4)
            length, at = read_sparse(delta, at, command >> 4, 3)
            pieces.append(base[start : start + (length or 0x10000)])
        else:
            pieces.append(delta[at : at + command])
            at += command
    content = b"".join(pieces)
    if len(content) != size:
        raise Unreadable("a delta in a pack is broken")
    return content
