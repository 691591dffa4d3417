"""Looks at the configuration: which file it is, why that one, and whether it is right."""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING, Final

from steplogd.config import find_config, load_config
from steplogd.delivery.secrets import without_secrets
from steplogd.doctor.finding import Finding, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.config import Config, ConfigError

CHECK: Final = "configuration"


def read(given: str | None) -> tuple[Path | None, Config]:
    """Read the configuration as every command does.

    Raises:
        ConfigError: It is wrong, or cannot be seen.
    """
    path = find_config(given)
    return path, load_config(path)


def refused(error: ConfigError) -> Finding:
    """Say what is wrong with it."""
    mend = "mend it, and see by `steplogd check` that it is right"
    return Finding(CHECK, "wrong", str(error).rstrip("."), mend, bars_start=True)


def look(given: str | None, path: Path | None, config: Config) -> Iterator[Finding]:
    """Say what it says, and whether others may change it or read a password in it."""
    names = ", ".join(backend.name for backend in config.backends)
    delivers = f"delivers to {names}" if names else "no backend: the run log has it all"
    where = f"{path} ({_why(given)})" if path else "no file, so that all is as usual"
    yield ok(CHECK, f"{where}; {delivers}")
    if path is not None:
        yield from _look_at_file(path)


def _why(given: str | None) -> str:
    if given:
        return "named by --config"
    return "named by STEPLOG_CONFIG" if os.environ.get("STEPLOG_CONFIG") else "a usual place"


def _look_at_file(path: Path) -> Iterator[Finding]:
    mode, quoted = path.stat().st_mode, shlex.quote(str(path))
    if mode & stat.S_IWOTH:
        text = f"anybody on this machine can change {path}, and where the daemon delivers to"
        yield warning(CHECK, text, f"chmod o-w {quoted}")
    content = path.read_text("utf-8")
    if mode & stat.S_IROTH and content != without_secrets(content):
        text = f"anybody on this machine can read the credentials in {path}"
        yield warning(CHECK, text, f"chmod o-r {quoted}, and give it to the daemon's user")
