"""Which folders trackers that are files of this machine are written to, beside the home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from steplogd.installation.planning import InstallError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.config import Config


def folders_of_databases(config: Config) -> Iterator[Path]:
    """Name the folders outside of the home that trackers write to, which a unit may forbid.

    Raises:
        InstallError: One is not there, or cannot be opened without opening the whole machine.
    """
    for backend in config.backends:
        for folder in _folders(backend.options):
            if folder.is_relative_to(config.home):
                continue
            if folder == folder.parent:
                raise InstallError(
                    f"backend {backend.name!r} writes to {folder} itself, which its unit forbids: "
                    "write the whole path of a folder of its own (of a database, sqlite:////…)"
                )
            if not folder.is_dir():
                raise InstallError(
                    f"backend {backend.name!r} writes to {folder}, which is not there: make it, "
                    "for the user of the service"
                )
            yield folder


def _folders(options: object) -> Iterator[Path]:
    """Name the folders that a backend writes to: MLflow's database, W&B's files."""
    folder = _folder(getattr(options, "server_url", ""))
    if folder is not None:
        yield folder
    directory = getattr(options, "directory", "")
    if isinstance(directory, str) and directory and not directory.startswith("~"):
        yield Path("/", directory)  # it runs in /, and ~ is the daemon's own home


def _folder(uri: str) -> Path | None:
    """Return the folder that a tracking URI writes to; None for a server's."""
    scheme, path = uri.partition(":")[0], urlsplit(uri).path
    if scheme == "file":
        return Path("/", unquote(path))
    if scheme.partition("+")[0] == "sqlite":  # one slash more than the path has; / is where it runs
        return Path("/", path.removeprefix("/")).parent
    return None
