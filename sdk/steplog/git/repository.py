"""A repository on this machine: its layout, its settings, and the commit that is checked out."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from steplog.git.bounds import Unreadable, read_file
from steplog.git.config import Config

if TYPE_CHECKING:
    from pathlib import Path

_HASH_BYTES: Final = {"sha1": 20, "sha256": 32}
_MAX_SMALL_FILE_BYTES: Final = 64 * 1024
_MAX_CONFIG_BYTES: Final = 2**20
_MAX_SYMBOLIC_REFS: Final = 5  # as git has it
_KNOWN_EXTENSIONS: Final = (
    "noop",
    "objectformat",
    "partialclone",
    "preciousobjects",
    "relativeworktrees",
    "worktreeconfig",
)


class Repository:
    """The repository of a work tree.

    Attributes:
        work_tree: The folder that the files lie in.
        folder: What is this work tree's own: HEAD and the index.
        common: What all work trees share: objects, branches, settings.
        config: The settings.
        hash_name: How objects are named, `sha1` or `sha256`.
        hash_bytes: The length of a name.

    Raises:
        Unreadable: It is broken, or not laid out as this package knows it.
        OSError: A file of it cannot be read.
    """

    def __init__(self, work_tree: Path) -> None:
        self.work_tree = work_tree
        self.folder = _git_folder(work_tree)
        self.common = _pointed_to(self.folder / "commondir", "") or self.folder
        self.config = Config(_text(self.common / "config", _MAX_CONFIG_BYTES))
        self.hash_name = self.config.get("extensions.objectformat", "sha1").lower()
        if self.hash_name not in _HASH_BYTES:
            raise Unreadable(f"it names objects by {self.hash_name}")
        self.hash_bytes = _HASH_BYTES[self.hash_name]
        self._check_layout()

    def head(self) -> bytes | None:
        """Return the commit that is checked out; None before the first one."""
        name = "HEAD"
        for _ in range(_MAX_SYMBOLIC_REFS):
            value = self._ref(name)
            if value is None:
                return None
            if not value.startswith("ref:"):
                return self._oid(value, name)
            name = value.removeprefix("ref:").strip()
            if not name.startswith("refs/") or ".." in name:
                raise Unreadable("HEAD does not name a branch")
        raise Unreadable("HEAD does not lead to a commit")

    def _ref(self, name: str) -> str | None:
        for folder in dict.fromkeys((self.folder, self.common)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return _text(folder / name, _MAX_SMALL_FILE_BYTES).strip()
        if name == "HEAD":
            raise Unreadable("HEAD is missing")
        with contextlib.suppress(FileNotFoundError):
            return _find_packed(read_file(self.common / "packed-refs"), name)
        return None

    def _oid(self, value: str, name: str) -> bytes:
        try:
            oid = bytes.fromhex(value)
        except ValueError:
            oid = b""
        if len(oid) != self.hash_bytes:
            raise Unreadable(f"{name} names no commit")
        return oid

    def _check_layout(self) -> None:
        elsewhere = self.config.get("core.worktree")
        if elsewhere and not self.work_tree.samefile(self.folder / elsewhere):
            raise Unreadable("its files lie elsewhere (core.worktree)")
        for name in self.config.names("extensions."):
            if name.removeprefix("extensions.") not in _KNOWN_EXTENSIONS:
                raise Unreadable(f"it has the extension {name.removeprefix('extensions.')}")


def _git_folder(work_tree: Path) -> Path:
    path = work_tree / ".git"
    if path.is_dir():
        return path
    folder = _pointed_to(path, "gitdir:")
    if folder is None:
        raise Unreadable(".git does not say where the repository lies")
    return folder


def _pointed_to(path: Path, prefix: str) -> Path | None:
    """Return the folder that a file names, relative to where the file lies; None without one."""
    try:
        text = _text(path, _MAX_SMALL_FILE_BYTES)
    except FileNotFoundError:
        return None
    name = text.removeprefix(prefix).strip()
    return path.parent / name if text.startswith(prefix) and name else None


def _find_packed(refs: bytes, name: str) -> str | None:
    """Return what `packed-refs`, a line per branch or tag, says of one."""
    at = refs.find(b" " + os.fsencode(name) + b"\n")
    if at < 0:
        return None
    return refs[refs.rfind(b"\n", 0, at) + 1 : at].decode("ascii", "replace")


def _text(path: Path, max_bytes: int) -> str:
    return os.fsdecode(read_file(path, max_bytes))
