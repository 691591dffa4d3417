"""What is staged: where the index differs from the commit."""

from __future__ import annotations

import stat
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplog.git.index import CachedTree, Index
    from steplog.git.objects import Objects

_AFTER_SLASH: Final = b"0"


class _Folder(NamedTuple):
    """A committed folder, and its part of the index: the entries from `start` to `end`."""

    oid: bytes
    prefix: bytes
    start: int
    end: int
    cached: CachedTree | None


class Staged:
    """The comparison of an index with the tree of a commit.

    A folder whose tree the index knows to be the committed one is not opened: of most commits that
    is the outermost, and nothing else has to be read.
    """

    def __init__(self, index: Index, objects: Objects) -> None:
        self._entries = index.entries
        self._tree = index.tree
        self._objects = objects

    def changes(self, tree: bytes) -> Iterator[bytes]:
        """Yield the paths that are not the same in both."""
        if self._tree is not None and self._tree.oid == tree:
            return
        self._paths = [entry.path for entry in self._entries]
        self._waiting = [_Folder(tree, b"", 0, len(self._paths), self._tree)]
        while self._waiting:
            folder = self._waiting.pop()
            if folder.cached is None or folder.cached.oid != folder.oid:
                yield from self._compare(folder)

    def _compare(self, folder: _Folder) -> Iterator[bytes]:
        """Go through a folder and its part of the index, which are in the same order."""
        at = folder.start
        for mode, name, oid in self._objects.tree(folder.oid):
            path = folder.prefix + name
            if stat.S_ISDIR(mode):
                start, end = self._put_off(folder, name, oid, at)
            else:
                start = bisect_left(self._paths, path, at, folder.end)
                end = bisect_right(self._paths, path, start, folder.end)
                if start == end or not self._is_same(start, mode, oid):
                    yield path
            yield from self._paths[at:start]
            at = end
        yield from self._paths[at : folder.end]

    def _put_off(self, folder: _Folder, name: bytes, oid: bytes, at: int) -> tuple[int, int]:
        """Have a folder within this one compared later; return its part of the index."""
        path = folder.prefix + name
        start = bisect_left(self._paths, path + b"/", at, folder.end)
        end = bisect_left(self._paths, path + _AFTER_SLASH, start, folder.end)
        cached = folder.cached and folder.cached.folders.get(name)
        self._waiting.append(_Folder(oid, path + b"/", start, end, cached))
        return start, end

    def _is_same(self, position: int, mode: int, oid: bytes) -> bool:
        entry = self._entries[position]
        return entry.oid == oid and _plain(entry.mode) == _plain(mode)


def _plain(mode: int) -> int:
    """Return a mode of which permissions say no more than whether a file can be executed."""
    return stat.S_IFMT(mode) | (mode & 0o100 if stat.S_ISREG(mode) else 0)
