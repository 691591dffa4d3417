"""What a changed configuration changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steplogd.changes import Changes, changes
from steplogd.config import BackendConfig, Config, ConfigError, Settings
from steplogd.core.retention import Policy
from steplogd.delivery.memory import MemoryBackend, MemoryOptions


def backend(name: str, store: str = "default") -> BackendConfig:
    """Configure a backend."""
    return BackendConfig(name, "memory", MemoryBackend, MemoryOptions(store))


def config(*backends: BackendConfig, home: str = "/home", **settings: Any) -> Config:
    """Configure a daemon."""
    return Config(Path(home), Settings(**settings), backends)


def test_backends_are_compared_by_name_and_options() -> None:
    """Their order is no change."""
    old = config(backend("a"), backend("b"), backend("c"))
    new = config(backend("d"), backend("c", "other"), backend("a"))

    found = changes(old, new)

    assert found == Changes(added=["d"], removed=["b"], changed=["c"], settings={})


def test_another_policy_of_retention_is_told_as_a_whole() -> None:
    """By the name of its table."""
    old = config()
    new = replace(old, retention=Policy("compress", max_bytes=1))

    found = changes(old, new)

    told = {"action": "compress", "after_days": 30.0, "max_bytes": 1}
    assert found.settings == {"retention": told}


def test_settings_are_told_with_their_new_values() -> None:
    """Those that are different alone."""
    found = changes(config(sweep_seconds=5.0), config(sweep_seconds=6.0, min_free=1))

    assert found.settings == {"sweep_seconds": 6.0, "min_free": 1}


def test_home_that_is_written_otherwise_is_the_same() -> None:
    """It lies where it lay."""
    old = Config(Path("/home"), Settings(), ())
    new = Config(Path("/home"), Settings(home="/home"), ())

    assert changes(old, new) == Changes([], [], [], {})


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (config(home="/other"), "The home cannot change from /home to /other .* restart it"),
        (config(shared=True), "The key shared cannot change .* restart it"),
    ],
)
def test_what_cannot_change_says_so(new: Config, reason: str) -> None:
    """And what to do."""
    with pytest.raises(ConfigError, match=reason):
        changes(config(), new)
