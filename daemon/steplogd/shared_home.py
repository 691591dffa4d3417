"""A home that several users share: each appends to spools of his own, all else is the daemon's."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from steplog.home import catalog_folder, make_folder, spool_folder
from steplogd.config import ConfigError
from steplogd.lasting import is_lasting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.config import Config

HOME_MODE: Final = 0o711
"""Everybody may go through to what he knows by name, and nobody may look around."""

FOLDER_MODE: Final = 0o3733
"""Everybody may make a file, and nobody may list, remove or rename another's. The set-group-id bit
gives each file the daemon's group, which may read it."""

_OTHERS: Final = 0o077


def share(home: Path) -> None:
    """Bring a home into the state in which several users share it; made when absent.

    What users have made in it stays as it is. Nothing is open to them before it is as it should be.

    Raises:
        ConfigError: It cannot be; the text says why, and what to do.
        OSError: It cannot be now, as its disk is read-only, say.
    """
    make_folder(home)
    try:
        make_folder(home / "runs")
        for entry in os.scandir(home):
            if entry.name not in {folder.name for folder in _folders(home)}:
                _close(entry)
        for folder in _folders(home):
            share_folder(folder)
        home.chmod(HOME_MODE)
    except OSError as error:
        if not is_lasting(error):
            raise
        where = error.filename or home
        raise ConfigError(
            f"The home {home} cannot be shared: {where}: {error.strerror}; give all that lies in "
            "it to the user whom steplogd runs as."
        ) from error


def refuse_unshareable(config: Config, *, is_serving: bool = True) -> None:
    """Refuse, before anything is made or held, to serve a home that is to be shared and cannot be.

    Args:
        config: What is to be served.
        is_serving: Whether by this very user, as for `troubles`.

    Raises:
        ConfigError: The text says why, and what to do.
    """
    if config.settings.shared:
        for trouble in troubles(config.home, is_serving=is_serving):
            raise ConfigError(trouble)


def share_folder(folder: Path) -> None:
    """Bring the folder of spools, or the catalog, into that state; made when absent.

    Raises:
        OSError: It cannot be; a link is not followed.
    """
    make_folder(folder)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_gid != os.getegid():
            os.fchown(fd, -1, os.getegid())
        if stat.S_IMODE(status.st_mode) != FOLDER_MODE:
            os.fchmod(fd, FOLDER_MODE)
    finally:
        os.close(fd)


def troubles(home: Path, *, is_serving: bool = False) -> Iterator[str]:
    """Say in one sentence each why a home cannot be shared; changes nothing.

    Args:
        home: The home, which need not exist yet.
        is_serving: Whether this very user is to serve it; root may look at the home of another.
    """
    for folder in home.absolute().resolve().parents:
        if folder.exists():
            yield from _troubles_on_the_way(home, folder.stat().st_mode, folder)
    if not home.exists():
        return
    owner = home.stat().st_uid
    if owner != os.geteuid() and (is_serving or os.geteuid() != 0):
        yield (
            f"The home {home} belongs to the user with id {owner}, and a shared home is served by "
            f"its owner alone: run steplogd as that user, or give it the home."
        )
    for folder in _folders(home):
        if not os.path.lexists(folder):
            continue
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            yield f"{folder} is no folder, and nothing else can be shared: move it away."
        elif status.st_uid != owner:
            yield (
                f"{folder} belongs to the user with id {status.st_uid}, who could take it away "
                f"from all others, and the home to the one with id {owner}: give both to the user "
                f"whom steplogd runs as."
            )


def _troubles_on_the_way(home: Path, mode: int, folder: Path) -> Iterator[str]:
    if not mode & stat.S_IXOTH:
        yield (
            f"The home {home} cannot be shared, for other users cannot go through {folder}: "
            f"chmod o+x it, or take another home."
        )
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        yield (
            f"The home {home} cannot be shared, for anybody may put another in its place in "
            f"{folder}: chmod o-w it, or take another home."
        )


def _folders(home: Path) -> tuple[Path, Path]:
    return spool_folder(home), catalog_folder(home)


def _close(entry: os.DirEntry[str]) -> None:
    """Take from others what they may do with something of the daemon's.

    It may vanish meanwhile, as the store's WAL does when the last one who reads it goes.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = entry.stat(follow_symlinks=False).st_mode
        if not stat.S_ISLNK(mode) and mode & _OTHERS:
            os.chmod(entry.path, stat.S_IMODE(mode) & ~_OTHERS)  # noqa: PTH101  # it may be any name
