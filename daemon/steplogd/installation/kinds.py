"""Which service is installed: a person's own, the shared one of a machine, or that of one user."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SYSTEM_UNITS: Final = Path("/etc/systemd/system")
_SLICE: Final = _SYSTEM_UNITS / "steplog.slice"
_SLICE_FILE: Final = "system/steplog.slice"
SHARED_CONFIG: Final = Path("/etc/steplog/steplogd.toml")


@dataclass(frozen=True)
class Kind:
    """A service that `steplogd install` knows, with all that systemd needs of it.

    Attributes:
        unit: What it is started by, as in `systemctl start`.
        template: The unit's file among those that come with steplog.
        path: Where the unit is written.
        options: What `systemctl` and `journalctl` need to find it.
        files: What else is written, by path: the template, and it is kept up to date.
        slice_with: The other unit of the machine that lies in the same slice, where this has one.
        config: The configuration that is written where there is none.
        applied: Commands that make users and folders of those files.
        hides: Folders that the unit hides from the daemon.
    """

    unit: str
    template: str
    path: Path
    options: tuple[str, ...] = ()
    files: Mapping[Path, str] = field(default_factory=dict)
    slice_with: Path | None = None
    config: Path | None = None
    applied: tuple[tuple[str, ...], ...] = ()
    hides: tuple[Path, ...] = ()

    @property
    def is_system(self) -> bool:
        """Whether it belongs to the machine, so that only root can change it."""
        return not self.options

    @property
    def written(self) -> tuple[Path, ...]:
        """All files that are ours alone: written by `install`, removed by `uninstall`."""
        return (self.path, *self.files)

    @property
    def unit_files(self) -> frozenset[Path]:
        """Those of them that systemd itself reads."""
        return frozenset(path for path in self.written if path.parent == self.path.parent)

    def systemctl(self, *words: str) -> tuple[str, ...]:
        """Return a command for this service's manager."""
        return ("systemctl", *self.options, *words)


def own(config_home: Path) -> Kind:
    """Return the service of whoever calls, in his own manager.

    Args:
        config_home: Where his configuration lies, usually `~/.config`.
    """
    path = config_home / "systemd/user/steplogd.service"
    return Kind("steplogd.service", "user/steplogd.service", path, options=("--user",))


def shared() -> Kind:
    """Return the service that all users of a machine share."""
    users, folders = Path("/etc/sysusers.d/steplog.conf"), Path("/etc/tmpfiles.d/steplog.conf")
    return Kind(
        "steplogd.service",
        "system/steplogd.service",
        _SYSTEM_UNITS / "steplogd.service",
        files={
            users: "sysusers.d/steplog.conf",
            folders: "tmpfiles.d/steplog.conf",
            _SLICE: _SLICE_FILE,
        },
        slice_with=_SYSTEM_UNITS / "steplogd@.service",
        config=SHARED_CONFIG,
        applied=(
            ("systemd-sysusers", str(users)),
            ("systemd-tmpfiles", "--create", str(folders)),
        ),
        hides=tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))),  # noqa: S108
    )


def of_user(user: str) -> Kind:
    """Return the service of one user, in the manager of the machine."""
    return Kind(
        f"steplogd@{user}.service",
        "system/steplogd@.service",
        _SYSTEM_UNITS / "steplogd@.service",
        files={_SLICE: _SLICE_FILE},
        slice_with=_SYSTEM_UNITS / "steplogd.service",
        hides=tuple(map(Path, ("/tmp", "/var/tmp"))),  # noqa: S108
    )
