"""Installing once more: what the first run was given is kept where the next is given nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from steplogd.installation import kinds
from steplogd.installation.carrying_out import carry_out, look
from steplogd.installation.earlier import Given, given_earlier
from steplogd.installation.planning import Found, Write
from steplogd.installation.preparing import own_texts
from steplogd.installation.units import filled_in, marked, quoted, template, unquoted
from tests.daemon import steplogd

ODD = "/data/a b%h;#$x$$\\n\"'"


@pytest.fixture
def config(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a person an empty home directory, and a configuration that his shell does not name."""
    for name in ("STEPLOG_HOME", "STEPLOG_CONFIG", "XDG_STATE_HOME", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nobody"))  # no manager answers
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    path = tmp_path / "50%$x c.toml"
    path.touch()
    assert home
    return path


def installed(config: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    """Write a person's unit as a run with this configuration and this home does; return it."""
    kind = kinds.own(Path("~/.config").expanduser())
    with monkeypatch.context() as first:
        first.setenv("STEPLOG_HOME", str(home))
        text = own_texts(kind, str(config))[kind.path]
    carry_out(Write(kind.path, text))
    return text


def test_a_plain_run_keeps_configuration_and_home(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so; the unit is left as it is."""
    installed(config, monkeypatch, tmp_path / "a b")
    kind = kinds.own(tmp_path / "me/.config")

    told = steplogd("install", "--user", "--dry-run").stdout

    assert given_earlier(kind, look(kind)) == Given(str(config), str(tmp_path / "a b"))
    assert f"keeps --config {config} from {kind.path}" in told
    assert f"keeps STEPLOG_HOME={tmp_path}/a b from {kind.path}" in told
    assert "would write" not in told


def test_what_a_run_is_given_replaces_what_was_there(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the shell that it comes from."""
    installed(config, monkeypatch, tmp_path / "first")
    other = tmp_path / "other.toml"
    other.touch()
    monkeypatch.setenv("STEPLOG_HOME", str(tmp_path / "second"))

    told = steplogd("install", "--user", "--dry-run", "--config", str(other)).stdout

    assert "keeps" not in told
    assert "would write" in told


def test_a_shared_daemon_keeps_its_configuration_and_no_variable() -> None:
    """As its home is what the configuration says; the usual file is none to keep."""
    kind = kinds.shared()
    unit = template(kind.template)
    usual, odd = (
        marked(filled_in(unit, ["/bin/x"], ["--config", path]), "1")
        for path in (str(kinds.SHARED_CONFIG), ODD)
    )

    assert given_earlier(kind, Found({kind.path: odd})) == Given(ODD)
    assert given_earlier(kind, Found({kind.path: usual})) == Given()


def test_another_ones_unit_is_not_asked() -> None:
    """It is not written over either."""
    kind = kinds.shared()
    unit = filled_in(template(kind.template), ["/bin/x"], ["--config", "/x"])

    assert given_earlier(kind, Found({kind.path: unit})) == Given()


@pytest.mark.parametrize("is_command", [True, False])
def test_what_was_quoted_is_read_back(*, is_command: bool) -> None:
    """Whatever is in it."""
    words = ["plain", ODD, "a\tb\nc", "", "%%h"]
    line = " ".join(quoted(word, is_argument=is_command) for word in words)

    assert unquoted(line, is_command=is_command) == words
