"""How the daemon is at a glance: what can be told of it cheaply, and that in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from steplog.cli.terminal import counted

if TYPE_CHECKING:
    from pathlib import Path

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_THOUSAND: Final = 1000
_MOST_OF_A_REASON: Final = 200  # characters: there may be many backends, and one line for all


class BackendGlance(msgspec.Struct, frozen=True):
    """How far one backend is.

    Attributes:
        name: What its cursors go by.
        behind: How many observations it is owed; None where that was not counted yet.
        failure: Why it takes none of them now; "" while it does.
    """

    name: str
    behind: int | None
    failure: str = ""


class Glance(msgspec.Struct, frozen=True):
    """How a daemon that serves is.

    Attributes:
        open_runs: Runs that go on.
        left_bytes: Of spools, not folded yet.
        backends: In the order of the configuration.
        troubles: What is tried again all the time, and why.
    """

    open_runs: int
    left_bytes: int
    backends: list[BackendGlance]
    troubles: list[str]


def in_words(home: Path, glance: Glance) -> str:
    """Say it in one sentence."""
    runs = f"{counted(glance.open_runs, 'run')} open"
    left = f"{size_in_words(glance.left_bytes)} to fold" if glance.left_bytes else "all folded"
    backends = ", ".join(_backend_in_words(backend) for backend in glance.backends)
    troubles = (trouble[:_MOST_OF_A_REASON] for trouble in glance.troubles)
    return "; ".join(filter(None, (f"serving {home}: {runs}, {left}", backends, *troubles)))


def size_in_words(size_bytes: int) -> str:
    """Return a size for people, as `1.2 MB`."""
    size, unit = float(size_bytes), 0
    while round(size, 1) >= _THOUSAND and unit < len(_UNITS) - 1:
        size, unit = size / _THOUSAND, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} {_UNITS[0]}"


def _backend_in_words(backend: BackendGlance) -> str:
    why = f" ({backend.failure[:_MOST_OF_A_REASON]})" if backend.failure else ""
    if backend.behind is None:
        return f"{backend.name} not looked at yet{why}"
    if backend.behind == 0 and not why:
        return f"{backend.name} ok"
    return f"{backend.name} {counted(backend.behind, 'observation')} behind{why}"
