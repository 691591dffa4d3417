"""Where the repository of the running program lies, if it has one."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def work_tree_of_program() -> Path | None:
    """Return the work tree that the main script lies in, else the one of the working directory."""
    found = (find_work_tree(folder) for folder in _folders_of_program())
    return next((work_tree for work_tree in found if work_tree is not None), None)


def find_work_tree(start: Path) -> Path | None:
    """Return the folder at or above an absolute path that holds a `.git`; None without one.

    As git does, it stays within one file system and below `GIT_CEILING_DIRECTORIES`, so that it
    wakes no automounter and no network disk.
    """
    ceilings = os.environ.get("GIT_CEILING_DIRECTORIES", "").split(":")
    device = None
    for folder in (start, *start.parents):
        if folder != start and str(folder) in ceilings:
            return None
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            found = folder.stat().st_dev
            if device not in (None, found):
                return None
            device = found
            if _is_repository(folder / ".git"):
                return folder
    return None


def _is_repository(path: Path) -> bool:
    mode = path.stat().st_mode
    return stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and os.path.lexists(path / "HEAD"))


def _folders_of_program() -> Iterator[Path]:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if isinstance(script, str):
        folder = Path(os.path.realpath(script)).parent
        if not _is_installed(folder):
            yield folder
    with contextlib.suppress(FileNotFoundError):
        yield Path.cwd()


def _is_installed(folder: Path) -> bool:
    """Tell whether scripts of a folder came with an environment: `pytest`, `python -m cProfile`.

    They say nothing of the code that they run, even where the environment lies in a repository.
    """
    commands = Path(os.path.realpath(sys.executable or os.devnull)).parent
    library = Path(os.path.realpath(os.__file__)).parent
    environment = Path(os.path.realpath(sys.prefix)) / "bin"
    if folder in (commands, environment) or folder.is_relative_to(library):
        return True
    return not {"site-packages", "dist-packages"}.isdisjoint(folder.parts)
