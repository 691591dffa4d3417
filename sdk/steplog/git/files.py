"""What is edited: where the files of the work tree differ from the index."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from steplog.git.bounds import Unreadable, open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steplog.git.bounds import Deadline
    from steplog.git.index import Entry, Index
    from steplog.git.repository import Repository

_RACY_NS: Final = 10_000_000
"""A file that changed this shortly before the index was written, or later, may have changed again
without looking different: clocks of file systems tick every 4 to 10 milliseconds."""

_ENTRIES_PER_CHECK: Final = 64  # a network disk takes up to a millisecond for each
_CHUNK_BYTES: Final = 2**20
_MAX_TEXT_BYTES: Final = 4 * 2**20
_SECOND_NS: Final = 1_000_000_000
_LOW_BITS: Final = 2**32 - 1
_SUBMODULE: Final = 0o160000
_EMPTY: Final = {
    "sha1": bytes.fromhex("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
    "sha256": bytes.fromhex("473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"),
}
"""The name of no bytes; a size of 0 beside any other says that the file has to be read."""


class Files:
    """The comparison of a work tree with its index.

    A file that looks as it did when git read it is taken to be the same; any other is read. Also
    one that git was told to take for unchanged. No symbolic link is followed.

    Args:
        repository: Whose work tree it is.
        index: What git knows.
        deadline: When to stop.
        is_submodule_at: Tells whether a repository within this one is at a commit, and unchanged.
    """

    def __init__(
        self,
        repository: Repository,
        index: Index,
        deadline: Deadline,
        is_submodule_at: Callable[[bytes, bytes], bool],
    ) -> None:
        self._index = index
        self._deadline = deadline
        self._is_submodule_at = is_submodule_at
        self._hash_name = repository.hash_name
        self._empty = _EMPTY[repository.hash_name]
        config = repository.config
        self._has_modes = config.is_on("core.filemode", default=True)
        self._has_links = config.is_on("core.symlinks", default=True)
        self._has_crlf = config.get("core.autocrlf").lower() in ("true", "input", "1", "yes", "on")
        # What git's attributes had a program rewrite is not what was committed: to read it would
        # call every large file of a fresh clone changed.
        self._has_attributes = any(
            entry.path.rpartition(b"/")[2] == b".gitattributes" for entry in index.entries
        )
        self._folders = {b"": True}
        self._root = os.open(repository.work_tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the work tree."""
        os.close(self._root)

    def changes(self) -> Iterator[bytes]:
        """Yield the paths of files that are not what the index says."""
        for number, entry in enumerate(self._index.entries):
            if number % _ENTRIES_PER_CHECK == 0:
                self._deadline.check()
            if not self._is_same(entry):
                yield entry.path

    def _is_same(self, entry: Entry) -> bool:
        if entry.is_unsettled:
            return False
        path = entry.path
        if not self._is_folder(path[: path.rfind(b"/") + 1]):
            return entry.may_be_absent
        try:
            status = os.lstat(path, dir_fd=self._root)
        except (FileNotFoundError, NotADirectoryError):
            return entry.may_be_absent
        if self._looks_same(entry, status):
            return True
        if entry.mode == _SUBMODULE:
            return stat.S_ISDIR(status.st_mode) and self._is_submodule_at(path, entry.oid)
        return self._has_same_mode(entry, status.st_mode) and self._has_same_content(entry, status)

    def _is_folder(self, folder: bytes) -> bool:
        """Tell whether a path, ending in a slash, is a folder, and no symbolic link leads there."""
        known = self._folders.get(folder)
        if known is None:
            parent, _, name = folder[:-1].rpartition(b"/")
            if name in (b"", b".", b".."):
                raise Unreadable("its index leads out of the work tree")
            known = self._is_folder(parent and parent + b"/") and self._is_real(folder[:-1])
            self._folders[folder] = known
        return known

    def _is_real(self, folder: bytes) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(folder, dir_fd=self._root).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _looks_same(self, entry: Entry, status: os.stat_result) -> bool:
        mtime_ns = entry.mtime * _SECOND_NS + entry.mtime_ns
        return (
            status.st_mtime_ns == mtime_ns
            and status.st_size & _LOW_BITS == entry.size
            and status.st_ctime_ns == entry.ctime * _SECOND_NS + entry.ctime_ns
            and status.st_ino & _LOW_BITS == entry.inode
            and (mtime_ns < self._index.mtime_ns - _RACY_NS or self._has_attributes)
            and (entry.size != 0 or entry.oid == self._empty)
            and self._has_same_mode(entry, status.st_mode)
        )

    def _has_same_mode(self, entry: Entry, mode: int) -> bool:
        if stat.S_ISLNK(entry.mode):
            return stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and not self._has_links)
        if not stat.S_ISREG(mode) or not stat.S_ISREG(entry.mode):
            return False
        return not self._has_modes or not (mode ^ entry.mode) & 0o100

    def _has_same_content(self, entry: Entry, status: os.stat_result) -> bool:
        if stat.S_ISLNK(status.st_mode):
            return self._name_of(os.readlink(entry.path, dir_fd=self._root)) == entry.oid
        if entry.size and status.st_size & _LOW_BITS != entry.size and not self._has_crlf:
            return False
        fd = open_regular(entry.path, self._root)
        try:
            return self._name_of_file(fd) == entry.oid or self._is_same_text(fd, entry.oid)
        finally:
            os.close(fd)

    def _is_same_text(self, fd: int, oid: bytes) -> bool:
        """Tell whether a file is what was committed but for the ends of its lines, as was asked."""
        if not self._has_crlf or os.fstat(fd).st_size > _MAX_TEXT_BYTES:
            return False
        text = os.pread(fd, _MAX_TEXT_BYTES, 0)
        return b"\0" not in text and self._name_of(text.replace(b"\r\n", b"\n")) == oid

    def _name_of(self, content: bytes) -> bytes:
        """Return the name that git gives to a content."""
        import hashlib  # which most starts of a run do not need

        start = b"blob %d\0" % len(content)
        return hashlib.new(self._hash_name, start + content, usedforsecurity=False).digest()

    def _name_of_file(self, fd: int) -> bytes:
        import hashlib

        size = os.fstat(fd).st_size
        name = hashlib.new(self._hash_name, b"blob %d\0" % size, usedforsecurity=False)
        while content := os.read(fd, _CHUNK_BYTES):
            self._deadline.check()
            name.update(content)
        return name.digest()
