"""Git's index: each tracked file with the name of its content, and how the file looked then."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import msgspec

from steplog.git.bounds import Unreadable, read_file
from steplog.git.numbers import read_offset

if TYPE_CHECKING:
    from pathlib import Path

    from steplog.git.bounds import Deadline

_STAGE: Final = 0x3000
_IS_EXTENDED: Final = 0x4000
_MAY_BE_ABSENT: Final = 0x4000  # in the extended flags; git calls it skip-worktree
_IS_ANNOUNCED: Final = 0x2000  # in the extended flags; git calls it intent-to-add
_HEADER: Final = struct.Struct(">4sII")
_EXTENSION: Final = struct.Struct(">4sI")
_COMPRESSED_VERSION: Final = 4
_VERSIONS: Final = (2, 3, _COMPRESSED_VERSION)
_ENTRIES_PER_CHECK: Final = 1024  # about a millisecond


class Entry(msgspec.Struct, gc=False):
    """A tracked file, and how it looked when its content was known; 32 bits of each number.

    Attributes:
        path: From the work tree on.
        extended: Further flags.
        ctime, ctime_ns, mtime, mtime_ns: In seconds, and the nanoseconds beyond them.
        inode: Its number in the file system.
        mode: Its type and permissions, as in a tree.
        size: In bytes; 0 also when git wants it to be looked at.
        oid: The name of its content.
        flags: As they stand in the index.
    """

    path: bytes
    extended: int
    ctime: int
    ctime_ns: int
    mtime: int
    mtime_ns: int
    inode: int
    mode: int
    size: int
    oid: bytes
    flags: int

    @property
    def may_be_absent(self) -> bool:
        """Whether a sparse work tree leaves the file out."""
        return bool(self.extended & _MAY_BE_ABSENT)

    @property
    def is_unsettled(self) -> bool:
        """Whether it is one side of a conflict, or was announced without its content."""
        return bool(self.flags & _STAGE or self.extended & _IS_ANNOUNCED)


class CachedTree(msgspec.Struct):
    """What a folder of the index would be as a committed one.

    Attributes:
        oid: The name of the tree; None when something below has changed since.
        folders: The same of each folder in it, by name.
    """

    oid: bytes | None
    folders: dict[bytes, CachedTree] = {}


class Index(msgspec.Struct):
    """The index of a work tree.

    Attributes:
        entries: In the order of their paths.
        tree: What is known of it as a tree.
        mtime_ns: When it was written, in nanoseconds since the epoch.
    """

    entries: list[Entry] = []
    tree: CachedTree | None = None
    mtime_ns: int = 0


def read_index(path: Path, hash_bytes: int, deadline: Deadline) -> Index:
    """Read an index of version 2, 3 or 4; an empty one when there is none.

    Raises:
        Unreadable: It is broken, or has a part that is not understood and cannot be passed over
            (a shared index, folders in place of files).
        OutOfTime: It has too many entries.
        OSError: It cannot be read.
    """
    try:
        mtime_ns = path.stat().st_mtime_ns  # before its content, should it be written just now
        content = read_file(path)
    except FileNotFoundError:
        return Index()
    try:
        entries, end = _entries(content, hash_bytes, deadline)
        tree = _extensions(
            content[:-hash_bytes], end, hash_bytes, deadline
        )  # a checksum is at the end
    except (struct.error, ValueError, IndexError) as error:
        raise Unreadable("its index is cut off or broken") from error
    return Index(entries, tree, mtime_ns)


def _entries(content: bytes, hash_bytes: int, deadline: Deadline) -> tuple[list[Entry], int]:
    magic, version, count = _HEADER.unpack_from(content)
    if magic != b"DIRC" or version not in _VERSIONS:
        raise Unreadable("its index is of no version that is known")
    layout = struct.Struct(f">IIIIxxxxIIxxxxxxxxI{hash_bytes}sH")
    entries: list[Entry] = []
    path, at = b"", _HEADER.size
    for number in range(count):
        if number % _ENTRIES_PER_CHECK == 0:
            deadline.check()
        fields = layout.unpack_from(content, at)
        start, extended = at + layout.size, 0
        if fields[-1] & _IS_EXTENDED:
            extended = int.from_bytes(content[start : start + 2], "big")
            start += 2
        if version == _COMPRESSED_VERSION:
            dropped, start = read_offset(content, start)
            end = content.index(0, start)
            path = path[: len(path) - dropped] + content[start:end]
            at = end + 1
        else:
            end = content.index(0, start)
            path = content[start:end]
            at += end - at + 8 & ~7
        entries.append(Entry(path, extended, *fields))
    return entries, at


def _extensions(content: bytes, at: int, hash_bytes: int, deadline: Deadline) -> CachedTree | None:
    """Go through what follows the entries; return the root of the cached trees, if it is there."""
    tree = None
    while at != len(content):
        deadline.check()
        name, size = _EXTENSION.unpack_from(content, at)
        at += _EXTENSION.size + size
        if at > len(content):
            raise ValueError("an extension is cut off")
        if name == b"TREE":
            tree = _cached_tree(content[at - size : at], hash_bytes, deadline)
        elif not name[:1].isupper():  # the others may be passed over
            raise Unreadable(f"its index has the part {name.decode('ascii', 'replace')!r}")
    return tree


def _cached_tree(content: bytes, hash_bytes: int, deadline: Deadline) -> CachedTree | None:
    """Return the root of trees that stand one after another, parents before their children."""
    top = CachedTree(None)
    waiting = [(top, 1)]  # for how many folders
    at = 0
    while waiting:
        parent, missing = waiting.pop()
        deadline.check()
        if not missing:
            continue
        waiting.append((parent, missing - 1))
        end = content.index(0, at)
        line = content.index(b"\n", end)
        count, folders = map(int, content[end + 1 : line].split(b" "))
        cached = CachedTree(None)
        name, at = content[at:end], line + 1
        if count >= 0:
            cached.oid, at = content[at : at + hash_bytes], at + hash_bytes
        parent.folders[name] = cached
        waiting.append((cached, folders))
    return top.folders.get(b"")
