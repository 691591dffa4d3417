"""Looks at what there is of a service, and carries out the steps of a plan."""

from __future__ import annotations

import contextlib
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steplogd.installation.planning import Call, Found, InstallError, Remove, Write

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steplogd.installation.kinds import Kind
    from steplogd.installation.planning import Step

_BOOTED: Final = Path("/run/systemd/system")
_FILE_MODE: Final = 0o644
_FIRST_SEARCHED: Final = "/systemd/user.control"
"""Where a manager looks first, below the folder for its user's configuration."""

_STARTED_AT: Final = "%a %Y-%m-%d %H:%M:%S UTC"
"""How systemd writes a time in that zone; only newer ones have --timestamp=unix."""


def look(kind: Kind) -> Found:
    """Return what there is of a service; where no systemd answers, its files alone.

    Raises:
        OSError: One of its files cannot be read.
    """
    asked = (*kind.written, kind.config, kind.slice_with)
    paths = [path for path in asked if path is not None and path.exists()]
    texts = {path: path.read_text("utf-8", "replace") for path in paths}
    state, is_enabled = _state(kind)
    others = tuple(_others(kind))
    outdated = frozenset(_outdated(kind, (kind.unit, *others)))
    is_reload_needed = property_of(kind, "NeedDaemonReload") == "yes"
    return Found(texts, state, is_enabled, others, outdated, is_reload_needed)


def config_home() -> Path:
    """Return where this user's manager looks for his units; `~/.config` where none answers.

    A shell's XDG_CONFIG_HOME does not count, as the manager has an environment of its own.
    """
    _name_runtime_folder()
    searched = _output(("systemctl", "--user", "show", "--value", "--property", "UnitPath"))
    before, folder, _ = searched.partition(_FIRST_SEARCHED)
    return Path(before if folder else "~/.config").expanduser()


def refuse_where_impossible(kind: Kind) -> None:
    """Refuse to change a service that this user, on this machine, cannot change.

    Raises:
        InstallError: The text says why, and what to do.
    """
    if not _BOOTED.is_dir():
        raise InstallError(
            "this machine was not booted by systemd: have its own means run `steplogd run`"
        )
    if kind.is_system and os.geteuid() != 0:
        raise InstallError(
            "only root can change a service of the machine: run it with sudo, or take --user"
        )
    if not kind.is_system:
        _find_user_manager(kind)


def carry_out(step: Step) -> None:
    """Carry out a step.

    Raises:
        InstallError: A command failed; the text is what it said.
        OSError: A file cannot be written or removed.
    """
    match step:
        case Write():
            _write(step.path, step.text)
        case Remove():
            step.path.unlink(missing_ok=True)
        case Call():
            _call(step.words)


def property_of(kind: Kind, name: str, unit: str = "") -> str:
    """Return a property of the service, as `systemctl show` prints it; "" where nobody knows.

    Args:
        kind: The service.
        name: The property.
        unit: Another service of its manager.
    """
    return _output(kind.systemctl("show", "--value", "--property", name, unit or kind.unit))


def _find_user_manager(kind: Kind) -> None:
    """See that this user's manager answers, also to who came by `su`, without its address."""
    _name_runtime_folder()
    if not _output(kind.systemctl("show", "--value", "--property", "Version")):
        raise InstallError(
            "no service manager of this user answers: log in as the user himself (not by su or "
            "sudo), or have root run `loginctl enable-linger USER`"
        )


def _name_runtime_folder() -> None:
    folder = Path(f"/run/user/{os.geteuid()}")
    if "XDG_RUNTIME_DIR" not in os.environ and folder.is_dir():
        os.environ["XDG_RUNTIME_DIR"] = str(folder)


def _state(kind: Kind) -> tuple[str, bool]:
    state = _output(kind.systemctl("is-active", kind.unit))
    return state or "inactive", _output(kind.systemctl("is-enabled", kind.unit)) == "enabled"


def _others(kind: Kind) -> Iterable[str]:
    """Name the services of other users that the same unit is for."""
    name, at, _ = kind.unit.partition("@")
    if not at:
        return
    pattern = f"{name}@*.service"
    links = {link.name for link in kind.path.parent.glob(f"*.wants/{pattern}")}
    listed = _output(kind.systemctl("list-units", "--all", "--plain", "--no-legend", pattern))
    running = {line.split()[0] for line in listed.splitlines() if " active " in f" {line} "}
    yield from sorted((links | running) - {kind.unit})


def _outdated(kind: Kind, units: Iterable[str]) -> Iterable[str]:
    """Name the services whose process was started before their files were written."""
    written = max((path.stat().st_mtime for path in kind.written if path.exists()), default=0.0)
    for unit in units:
        with contextlib.suppress(ValueError):  # it never had a process
            at = property_of(kind, "ExecMainStartTimestamp", unit)
            started = datetime.strptime(at, _STARTED_AT).replace(tzinfo=UTC)
            if int(written) > started.timestamp():  # which is in whole seconds
                yield unit


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, "utf-8")
    new.chmod(_FILE_MODE)
    new.replace(path)


def _call(words: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InstallError(f"there is no {words[0]} on this machine: install systemd") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise InstallError(f"`{' '.join(words)}` failed: {said}")


def _output(words: tuple[str, ...]) -> str:
    zone = {**os.environ, "TZ": "UTC"}
    with contextlib.suppress(OSError):
        done = subprocess.run(words, env=zone, capture_output=True, text=True, check=False)
        return done.stdout.strip()
    return ""
