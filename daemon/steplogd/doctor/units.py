"""Which units of systemd run steplogd here, and what systemd says of each."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from steplogd.doctor.finding import user_name
from steplogd.doctor.systemctl import Silent, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROPERTIES: Final = (
    "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,ExecStart,Result,ExecMainStatus,"
    "ActiveEnterTimestamp,MainPID,NRestarts,NeedDaemonReload,StatusText"
)
_ARGUMENTS: Final = re.compile(r"argv\[\]=([^;]*)")
_ENABLED: Final = frozenset(
    "enabled enabled-runtime linked linked-runtime static indirect generated alias".split()
)


class Unit(NamedTuple):
    """A unit that is installed.

    Attributes:
        name: As in `steplogd.service`.
        manager: The words by which that systemd is asked: `systemctl`, or `systemctl --user`.
        user: Whose manager it is; "" for the system's.
        said: What it says of the unit, by property.
    """

    name: str
    manager: tuple[str, ...]
    user: str
    said: dict[str, str]

    @property
    def state(self) -> str:
        """As in active, failed, inactive, activating."""
        return self.said.get("ActiveState", "")

    @property
    def is_enabled(self) -> bool:
        """Whether it is started with the machine, or with its user."""
        return self.said.get("UnitFileState") in _ENABLED

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        text = self.said.get("MainPID", "")
        return int(text) if text.isdigit() and text != "0" else None

    @property
    def restarts(self) -> int:
        """How often systemd has started it again by itself, since somebody started it."""
        text = self.said.get("NRestarts", "")
        return int(text) if text.isdigit() else 0

    @property
    def program(self) -> Path | None:
        """What it starts; None where its PATH decides that."""
        found = _ARGUMENTS.search(self.said.get("ExecStart", ""))
        words = found[1].split() if found else []
        if words and Path(words[0]).name == "env":
            words = words[1:]
        return Path(words[0]) if words and words[0].startswith("/") else None

    def command(self, verb: str) -> str:
        """Return the command that does something with it."""
        sudo = () if self.user else ("sudo",)
        return " ".join((*sudo, *self.manager, verb, self.name))


def installed(owner: int) -> tuple[list[Unit], str]:
    """Return the units that there are, and why not all could be asked for, if so.

    Args:
        owner: The user whom the home belongs to.
    """
    units: list[Unit] = []
    reasons: list[str] = []
    for manager, user, names in _managers(owner):
        try:
            units += _asked(manager, user, names)
        except Silent as silent:
            if not (user and os.geteuid() == 0):  # who has no session has no manager of his own
                reasons.append(str(silent))
    shown = [unit for unit in units if unit.is_enabled or unit.state != "inactive"]
    return shown or units[:1], reasons[0] if reasons else ""


def _managers(owner: int) -> Iterator[tuple[tuple[str, ...], str, tuple[str, ...]]]:
    user = user_name(owner)
    yield ("systemctl",), "", ("steplogd.service", f"steplogd@{user}.service")
    if owner == os.geteuid():
        yield ("systemctl", "--user"), user, ("steplogd.service",)
    elif os.geteuid() == 0:
        yield ("systemctl", f"--machine={user}@", "--user"), user, ("steplogd.service",)


def _asked(manager: tuple[str, ...], user: str, names: tuple[str, ...]) -> Iterator[Unit]:
    for name in names:
        said = ask(*manager, "show", "-p", _PROPERTIES, name)
        if said.get("LoadState", "not-found") != "not-found":
            yield Unit(name, manager, user, said)
