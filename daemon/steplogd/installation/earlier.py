"""What an earlier `steplogd install` was given, as the unit that it wrote says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from steplogd.installation.units import MARK, unquoted

if TYPE_CHECKING:
    from steplogd.installation.kinds import Kind
    from steplogd.installation.planning import Found

_HOME: Final = "STEPLOG_HOME="


@dataclass(frozen=True)
class Given:
    """What an installation was given; None for what it was not.

    Attributes:
        config: The configuration that the daemon runs with.
        home: The value of STEPLOG_HOME, of a person's own daemon alone.
    """

    config: str | None = None
    home: str | None = None


def given_earlier(kind: Kind, found: Found) -> Given:
    """Return what the unit that is there was written with; nothing where it is not ours."""
    text = found.texts.get(kind.path, "")
    if not text.startswith(MARK):
        return Given()
    config = home = None
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name == "ExecStart":
            words = unquoted(value)
            config = words[-1] if words[-2:-1] == ["--config"] else None
        elif name == "Environment" and not kind.is_system:
            words = unquoted(value, is_command=False)
            homes = [word.removeprefix(_HOME) for word in words if word.startswith(_HOME)]
            home = homes[0] if homes else home
    return Given(None if config == str(kind.config) else config, home)
