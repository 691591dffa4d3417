"""The objects of a repository, commits and trees, wherever they lie: loose, in packs, elsewhere."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from steplog.git.bounds import Unreadable, read_file
from steplog.git.packs import MAX_OBJECT_BYTES, Pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplog.git.bounds import Deadline

_MAX_ALTERNATES: Final = 20
_MAX_LOOSE_HEADER_BYTES: Final = 32


class TreeEntry(NamedTuple):
    """A name in a folder that is committed."""

    mode: int
    name: bytes
    oid: bytes


class Objects:
    """Reads objects by their name; to be closed, as packs stay open meanwhile."""

    def __init__(self, folder: Path, hash_bytes: int, deadline: Deadline) -> None:
        self._hash_bytes = hash_bytes
        self._deadline = deadline
        self._folders = _with_alternates(folder)
        self._packs: list[Pack] | None = None

    def close(self) -> None:
        """Let go of the packs."""
        while self._packs:
            self._packs.pop().close()

    def tree_of(self, commit: bytes) -> bytes:
        """Return the name of the tree that a commit holds."""
        line, _, _ = self._read(commit, "commit").partition(b"\n")
        word, _, oid = line.partition(b" ")
        if word != b"tree":
            raise Unreadable(f"the commit {commit.hex()} has no tree")
        return bytes.fromhex(oid.decode())

    def tree(self, oid: bytes) -> Iterator[TreeEntry]:
        """Yield what a folder holds, in git's order: a folder as if its name ended in a slash."""
        content = self._read(oid, "tree")
        at = 0
        while at < len(content):
            self._deadline.check()
            end = content.index(b"\0", at)
            mode, _, name = content[at:end].partition(b" ")
            at = end + 1 + self._hash_bytes
            yield TreeEntry(int(mode, 8), name, content[end + 1 : at])

    def _read(self, oid: bytes, expected: str) -> bytes:
        self._deadline.check()
        kind, content = self._read_loose(oid) or self._read_packed(oid)
        if kind != expected:
            raise Unreadable(f"the object {oid.hex()} is no {expected}")
        return content

    def _read_loose(self, oid: bytes) -> tuple[str, bytes] | None:
        name = oid.hex()
        for folder in self._folders:
            with contextlib.suppress(FileNotFoundError):
                return _inflate(read_file(folder / name[:2] / name[2:], MAX_OBJECT_BYTES), name)
        return None

    def _read_packed(self, oid: bytes) -> tuple[str, bytes]:
        if self._packs is None:
            self._packs = []
            self._packs.extend(self._open_packs())
        for pack in self._packs:
            offset = pack.find(oid)
            if offset is not None:
                return pack.read(offset)
        raise Unreadable(f"the object {oid.hex()} is missing")

    def _open_packs(self) -> Iterator[Pack]:
        for folder in self._folders:
            for index in sorted((folder / "pack").glob("*.idx")):
                self._deadline.check()
                with contextlib.suppress(FileNotFoundError):  # packed anew just now
                    yield Pack(index, self._hash_bytes, self._deadline)


def _inflate(stored: bytes, name: str) -> tuple[str, bytes]:
    stream = zlib.decompressobj()
    whole = stream.decompress(stored, MAX_OBJECT_BYTES + _MAX_LOOSE_HEADER_BYTES)
    header, _, content = whole.partition(b"\0")
    kind, _, size = header.partition(b" ")
    if not size.isdigit() or int(size) != len(content):
        raise Unreadable(f"the object {name} is broken")
    return kind.decode(), content


def _with_alternates(folder: Path) -> list[Path]:
    """Return the folder, and those that it borrows objects from."""
    folders = [folder]
    for known in folders:
        with contextlib.suppress(FileNotFoundError):
            for line in read_file(known / "info" / "alternates").splitlines():
                other = known / Path(line.decode("utf-8", "surrogateescape"))
                if line and not line.startswith(b"#") and other not in folders:
                    folders.append(other)
        if len(folders) > _MAX_ALTERNATES:
            raise Unreadable("the repository borrows objects from too many others")
    return folders
