"""The configuration: what is wrong with it is said in one sentence, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steplogd.config import ConfigError, Settings, backend_types, find_config, load_config
from steplogd.core.retention import Policy
from steplogd.delivery.memory import MemoryBackend, MemoryOptions

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Give a way to write a configuration file."""

    def to_file(text: str) -> Path:
        path = tmp_path / "steplogd.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def test_no_file_is_fine(home: Path) -> None:
    """No backend is the default: the run log has it all."""
    config = load_config(None)

    assert (config.home, config.settings, config.backends) == (home, Settings(), ())


def test_a_file_says_where_how_and_to_whom(write: Callable[[str], Path], tmp_path: Path) -> None:
    """A backend's own keys stand in its table."""
    path = write(
        f'home = "{tmp_path}/h"\ngrace_seconds = 1\n'
        '[[backend]]\ntype = "memory"\nname = "a"\nstore = "s"\n'
        '[[backend]]\ntype = "memory"\n'
    )

    config = load_config(path)

    assert config.home == tmp_path / "h"
    assert config.settings.grace_seconds == 1.0
    assert [(one.name, one.kind, one.options) for one in config.backends] == [
        ("a", MemoryBackend, MemoryOptions("s")),
        ("memory", MemoryBackend, MemoryOptions()),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("grace_second = 1", "no key 'grace_second'; did you mean 'grace_seconds'"),
        ("zzz = 1", "no key 'zzz'; known are"),
        ("grace_seconds = 0", "grace_seconds must be more than 0"),
        ("grace_seconds = -1.5", "grace_seconds must be more than 0"),
        ("sweep_seconds = nan", "sweep_seconds must be more than 0"),
        ("idle_seconds = inf", "idle_seconds must be more than 0"),
        ('grace_seconds = "2"', "Expected `float`, got `str`, at `grace_seconds`"),
        ("home = 3", "Expected `str`, got `int`, at `home`"),
        ('home = "a\\u0000b"', "NUL"),
        ("min_free = -1", "min_free must be a number of bytes, 0 to use the disk to its end"),
        ('min_free = "64 MiB"', "Expected `int | null`, got `str`, at `min_free`"),
        ("min_free = 1.5", "Expected `int | null`, got `float`, at `min_free`"),
        ("minfree = 1", "no key 'minfree'; did you mean 'min_free'"),
        ("grace_seconds =", "not TOML"),
        ('[backend]\ntype = "memory"', "[[backend]]"),
        ("backend = [1]", "[[backend]]"),
        ("[[backend]]", "says no type"),
        ("[[backend]]\ntype = 1", "says no type"),
        ('[[backend]]\ntype = "memry"', "no type 'memry'; did you mean 'memory'"),
        ('[[backend]]\ntype = "memory"\nstor = "x"', "no key 'stor'; did you mean 'store'"),
        ('[[backend]]\ntype = "memory"\nstore = 1', "Expected `str`, got `int`, at `store`"),
        ('[[backend]]\ntype = "memory"\nname = ""', "name must be text"),
        ('[[backend]]\ntype = "memory"\n' * 2, "two backends are named 'memory'"),
    ],
)
@pytest.mark.usefixtures("home")
def test_each_mistake_is_one_sentence(write: Callable[[str], Path], text: str, says: str) -> None:
    """It names the place, what is wrong, and what would be right."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(text))

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_second_backend_is_named_by_its_number(write: Callable[[str], Path]) -> None:
    """Two tables look alike."""
    with pytest.raises(ConfigError, match="backend 2: "):
        load_config(write('[[backend]]\ntype = "memory"\n[[backend]]\ntype = "zzz"'))


def test_what_is_not_utf8_is_said(tmp_path: Path) -> None:
    """As it is no TOML."""
    path = tmp_path / "c.toml"
    path.write_bytes(b"home = '\xff'")

    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)


def test_the_file_given_counts_before_all_others(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Then the environment's, then the user's."""
    path = write("")
    usual = tmp_path / "xdg" / "steplog" / "steplogd.toml"
    usual.parent.mkdir(parents=True)
    usual.write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("STEPLOG_CONFIG", raising=False)
    by_default = find_config()
    monkeypatch.setenv("STEPLOG_CONFIG", str(path))

    assert by_default == usual
    assert find_config() == path
    assert find_config(str(usual)) == usual


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    """A typing mistake must not mean the default."""
    with pytest.raises(ConfigError, match="no such file"):
        find_config(str(tmp_path / "absent.toml"))


def test_a_user_without_a_home_directory_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a user that nobody knows."""

    def nobody(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    for name in ("STEPLOG_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)

    assert find_config() in (None, Path("/etc/steplog/steplogd.toml"))


def test_a_type_that_is_no_backend_is_said(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Third parties make mistakes too."""
    from importlib.metadata import EntryPoint

    points = {
        "path": EntryPoint("path", "pathlib:Path", "steplog.backends"),
        "gone": EntryPoint("gone", "no_such_module:Backend", "steplog.backends"),
    }
    monkeypatch.setattr("steplogd.config.backend_types", lambda: points)

    for name in points:
        with pytest.raises(ConfigError, match=f"type '{name}' cannot be loaded"):
            load_config(write(f'[[backend]]\ntype = "{name}"'))


def test_a_missing_package_names_what_brings_it(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its extra where it has one."""
    monkeypatch.setattr(MemoryBackend, "package", "no_such_tracker")

    with pytest.raises(ConfigError, match="pip install 'no_such_tracker'"):
        load_config(write('[[backend]]\ntype = "memory"'))
    monkeypatch.setattr(MemoryBackend, "extra", "tracker")
    with pytest.raises(ConfigError, match=r"pip install 'steplog\[tracker\]'"):
        load_config(write('[[backend]]\ntype = "memory"'))


def test_our_backends_are_found_by_their_entry_points() -> None:
    """As any third party's are."""
    assert {"memory", "mlflow", "wandb"} <= backend_types().keys()


def test_a_home_below_a_file_is_refused(tmp_path: Path) -> None:
    """Before a daemon is started that could not make it."""
    (tmp_path / "file").touch()
    path = tmp_path / "steplogd.toml"
    path.write_text(f'home = "{tmp_path}/file/home"\n', encoding="utf-8")

    with pytest.raises(ConfigError, match=r"cannot be made: .*/file is no folder"):
        load_config(path)


def test_retention_is_off_unless_asked_for(write: Callable[[str], Path]) -> None:
    """And what is asked for is taken as it is."""
    asked = '[retention]\naction = "remove"\nafter_days = 0.5\nmax_bytes = 1000\n'

    assert load_config(None).retention == Policy("keep")
    assert load_config(write(asked)).retention == Policy("remove", 0.5, 1000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retention = 3", r"write retention as a table: \[retention\]"),
        ("retension = 3", "no key 'retension'; did you mean 'retention'"),
        ("[retention]\nafter_day = 3", "no key 'after_day'; did you mean 'after_days'"),
        ("[retention]\naction = 'remov'", "no action 'remov'; did you mean 'remove'"),
        ("[retention]\naction = 3", "no action 3; known are compress, keep, remove"),
        ("[retention]\nafter_days = -1", "after_days must be 0 or more, not -1"),
        ("[retention]\nafter_days = nan", "after_days must be 0 or more, not nan"),
        ("[retention]\nafter_days = '3'", "Expected `float`, got `str`"),
        ("[retention]\naction = 'remove'\nmax_bytes = 0", "more than 0, not 0"),
        ("[retention]\nmax_bytes = 5", "max_bytes frees nothing with action 'keep'"),
    ],
)
def test_retention_that_makes_no_sense_is_refused(
    write: Callable[[str], Path], text: str, said: str
) -> None:
    """Naming the key, and what would be right."""
    with pytest.raises(ConfigError, match=said):
        load_config(write(text))
