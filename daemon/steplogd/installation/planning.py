"""What is to be done to install or uninstall a service: a list of steps, from what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from steplog.errors import SteplogError
from steplogd.installation.units import MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from steplogd.installation.kinds import Kind


_AT_REST: Final = ("inactive", "failed", "unknown")
"""States without a process, so that a start can join none that has the old files."""


class InstallError(SteplogError):
    """It cannot be installed or uninstalled; the text says why, and what to do."""


@dataclass(frozen=True)
class Write:
    """Write a file whole, and make its folder."""

    path: Path
    text: str

    def __str__(self) -> str:
        """Say it to a person."""
        return f"write {self.path}"


@dataclass(frozen=True)
class Remove:
    """Remove a file."""

    path: Path

    def __str__(self) -> str:
        """Say it to a person."""
        return f"remove {self.path}"


@dataclass(frozen=True)
class Call:
    """Run a command to its end.

    Attributes:
        words: The command.
        is_apart: Whether all else is done where it fails, too: it is for another one's daemon.
    """

    words: tuple[str, ...]
    is_apart: bool = False

    def __str__(self) -> str:
        """Say it to a person."""
        return f"run {' '.join(self.words)}"


Step = Write | Remove | Call


@dataclass(frozen=True)
class Found:
    """What there is before anything is done.

    Attributes:
        texts: Of the files in question, those that are there.
        state: The service's, as `systemctl is-active` prints it.
        is_enabled: Whether it starts by itself.
        others: Other services that the unit's file is for, too.
        outdated: Those of all these services whose process is older than their files: what was to
            start it anew was interrupted, or failed.
        is_reload_needed: Whether systemd has not read the unit's file as it is.
    """

    texts: Mapping[Path, str]
    state: str = "inactive"
    is_enabled: bool = False
    others: tuple[str, ...] = ()
    outdated: frozenset[str] = frozenset()
    is_reload_needed: bool = False


def plan_install(kind: Kind, texts: Mapping[Path, str], config: str, found: Found) -> list[Step]:
    """Return what makes the service run, with these files, from what was found on.

    Args:
        kind: The service.
        texts: What each of its files is to say.
        config: The configuration for where there is none; "" where it runs with another one.
        found: What there is.

    Raises:
        InstallError: A file of another's is in the way.
    """
    _refuse_foreign(texts, found)
    steps: list[Step] = []
    if config and kind.config is not None and kind.config not in found.texts:
        steps.append(Write(kind.config, config))
    changed = [path for path, text in texts.items() if found.texts.get(path) != text]
    steps += [Write(path, texts[path]) for path in changed]
    steps += map(Call, kind.applied)
    if found.is_reload_needed or not kind.unit_files.isdisjoint(changed):
        steps.append(Call(kind.systemctl("daemon-reload")))
    if not found.is_enabled:
        steps.append(Call(kind.systemctl("enable", kind.unit)))
    outdated = {kind.unit, *found.others} if changed else found.outdated
    steps += [
        Call(kind.systemctl("try-restart", other), is_apart=True)
        for other in found.others
        if other in outdated
    ]
    if kind.unit in outdated and found.state not in _AT_REST:
        steps.append(Call(kind.systemctl("restart", kind.unit)))
    elif found.state != "active":
        steps.append(Call(kind.systemctl("start", kind.unit)))
    return steps


def plan_uninstall(kind: Kind, found: Found) -> list[Step]:
    """Return what ends the service and removes what `install` wrote; data is not looked at.

    Raises:
        InstallError: The unit is another's.
    """
    steps: list[Step] = []
    if kind.path in found.texts:  # else the service may be that of a distribution's package
        _refuse_foreign((kind.path,), found)
        if found.is_enabled or found.state not in ("inactive", "unknown"):
            steps.append(Call(kind.systemctl("disable", "--now", kind.unit)))
    if not found.others:
        removed = list(_ours(kind.written, found))
        if kind.slice_with in found.texts:  # the daemons of the other unit lie in the slice, too
            removed = [path for path in removed if path.suffix != ".slice"]
        steps += map(Remove, removed)
        if not kind.unit_files.isdisjoint(removed):
            steps.append(Call(kind.systemctl("daemon-reload")))
    return steps


def _refuse_foreign(paths: Iterable[Path], found: Found) -> None:
    for path in paths:
        if not found.texts.get(path, MARK).startswith(MARK):
            raise InstallError(
                f"{path} was not written by `steplogd install`: move it away, or leave it to "
                "whoever wrote it"
            )


def _ours(paths: tuple[Path, ...], found: Found) -> Iterator[Path]:
    for path in paths:
        if found.texts.get(path, "").startswith(MARK):
            yield path
