"""What a changed configuration changes for a daemon that serves, and what it cannot change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplogd.config import ConfigError

if TYPE_CHECKING:
    from steplogd.config import BackendConfig, Config

_FIXED: Final = ("home", "shared", "metrics_listen")


class Changes(msgspec.Struct, frozen=True):
    """What is different, by name; for the log as well.

    Attributes:
        added: Backends that are new.
        removed: Backends that are not there any more.
        changed: Backends with another type or other options.
        settings: The settings that are different, with their new values.
    """

    added: list[str]
    removed: list[str]
    changed: list[str]
    settings: dict[str, Any]


def changes(old: Config, new: Config) -> Changes:
    """Compare two configurations.

    Raises:
        ConfigError: The new one cannot be taken over by a daemon that serves.
    """
    if new.home != old.home:
        raise ConfigError(
            f"The home cannot change from {old.home} to {new.home} while steplogd serves it: "
            "restart it."
        )
    if new.settings.shared != old.settings.shared:
        raise ConfigError("The key shared cannot change while steplogd serves: restart it.")
    if new.settings.metrics_listen != old.settings.metrics_listen:
        raise ConfigError("The key metrics_listen cannot change while steplogd serves: restart it.")
    before, after = _by_name(old), _by_name(new)
    known = [name for name in after if name in before]
    return Changes(
        added=[name for name in after if name not in before],
        removed=[name for name in before if name not in after],
        changed=[name for name in known if after[name] != before[name]],
        settings=_different(old, new),
    )


def _by_name(config: Config) -> dict[str, BackendConfig]:
    return {backend.name: backend for backend in config.backends}


def _different(old: Config, new: Config) -> dict[str, Any]:
    before, after = _settings(old), _settings(new)
    return {
        key: value for key, value in after.items() if value != before[key] and key not in _FIXED
    }


def _settings(config: Config) -> dict[str, Any]:
    retention = msgspec.structs.asdict(config.retention)
    return {**msgspec.structs.asdict(config.settings), "retention": retention}
