"""What the shared daemon needs of its configuration: that it shares, and where it writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steplogd.config import ConfigError
from steplogd.installation import kinds, preparing
from steplogd.installation.planning import InstallError

if TYPE_CHECKING:
    from pathlib import Path

SHARED = kinds.shared()
HOME = 'home = "/data/steplog"\nshared = true\n'


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the path of a configuration, wherever this test may have its files."""
    monkeypatch.setattr(preparing, "_refuse_hidden", lambda *_: None)
    monkeypatch.setenv("STEPLOG_HOME", "/nonexistent")
    return tmp_path / "c.toml"


def tracker(uri: str) -> str:
    return f'{HOME}[[backend]]\ntype = "mlflow"\nserver_url = "{uri}"\n'


@pytest.mark.parametrize("text", ["", 'home = "/data/steplog"', "shared = false"])
def test_a_configuration_that_shares_nothing_is_refused(text: str, config: Path) -> None:
    """Instead of telling all users of a home that is closed to them."""
    config.write_text(text)

    with pytest.raises(ConfigError, match=f"{config} lacks the line `shared = true`"):
        preparing.shared_texts(SHARED, str(config))


def test_a_configuration_that_is_mounted_is_there_first(config: Path) -> None:
    """Else the daemon would find none, and that ends it for good."""
    config.write_text(HOME)

    elsewhere = preparing.shared_texts(SHARED, str(config))[SHARED.path]
    usual = preparing.shared_texts(SHARED, None)[SHARED.path]

    assert f"\nRequiresMountsFor={config}\n" in elsewhere
    assert f"\nReadWritePaths={config}\n" not in elsewhere
    assert usual.count("RequiresMountsFor=") == 1


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("sqlite:///{}/m.db", ""),
        ("sqlite+pysqlite:///{}/m.db?timeout=5", ""),
        ("file://{}/a%20b", "/a b"),
    ],
)
def test_a_database_outside_of_the_home_may_be_written_to(
    uri: str, folder: str, config: Path, tmp_path: Path
) -> None:
    """Its folder, as a database has files beside it."""
    (tmp_path / "a b").mkdir()
    config.write_text(tracker(uri.format(tmp_path)))

    unit = preparing.shared_texts(SHARED, str(config))[SHARED.path]

    path = f'"{tmp_path}{folder}"' if folder else str(tmp_path)
    assert f"\nReadWritePaths={path}\n" in unit


def test_files_of_wandb_outside_of_the_home_may_be_written(config: Path, tmp_path: Path) -> None:
    """They are its own as much as a database is MLflow's; ~ is the home itself."""
    runs = tmp_path / "runs"
    backend = '[[backend]]\ntype = "wandb"\nname = "{}"\ndirectory = "{}"\n'
    config.write_text(HOME + backend.format("a", runs) + backend.format("b", "~/wandb"))

    with pytest.raises(InstallError, match=f"'a' writes to {runs}, which is not there: make it"):
        preparing.shared_texts(SHARED, str(config))
    runs.mkdir()
    unit = preparing.shared_texts(SHARED, str(config))[SHARED.path]

    assert f"\nReadWritePaths={runs}\n" in unit
    assert unit.count("ReadWritePaths=") == 3


@pytest.mark.parametrize("uri", ["sqlite:////data/steplog/m.db", "https://mlflow.example.org/a"])
def test_servers_and_what_lies_in_the_home_open_no_folder(uri: str, config: Path) -> None:
    """The home is open already."""
    config.write_text(tracker(uri))

    unit = preparing.shared_texts(SHARED, str(config))[SHARED.path]

    assert "\nReadWritePaths=/data/steplog\n" in unit
    assert unit.count("ReadWritePaths=") == 2


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("sqlite:///m.db", "writes to / itself"),
        ("file:///nonexistent/runs", "writes to /nonexistent/runs, which is not there: make it"),
    ],
)
def test_a_database_that_cannot_be_opened_is_refused(uri: str, says: str, config: Path) -> None:
    """Before each batch fails; nor is the whole machine opened for it."""
    config.write_text(tracker(uri))

    with pytest.raises(InstallError, match=says):
        preparing.shared_texts(SHARED, str(config))
