"""`steplogd doctor` as a whole: what it prints, how it exits, and that it changes nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon import configure, serving, steplogd
from tests.doctor import everything_in, examine
from tests.lines import append, line

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKS = [
    "configuration",
    "home",
    "permissions",
    "file-system",
    "disk",
    "clock",
    "inotify",
    "open-files",
    "unit",
    "daemon",
    "environment",
    "spools",
    "store",
    "delivery",
    "backend",
]
VALUE = line("track", values={"x": 1})


@pytest.fixture(autouse=True)
def no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no unit of this machine be found."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def test_help_shows_an_example() -> None:
    """That can be typed as it stands."""
    shown = steplogd("doctor", "--help")

    assert (shown.returncode, "example: steplogd doctor" in shown.stdout) == (0, True)


def test_names_of_checks_stay(home: Path) -> None:
    """Each is told, in this order, whatever it finds: scripts go by them."""
    path = configure(home, '[[backend]]\ntype = "memory"')

    found = examine("--config", path).findings

    assert list(dict.fromkeys(finding.check for finding in found)) == CHECKS


def test_new_home_is_nothing_wrong(home: Path) -> None:
    """And is not made by a look; without systemd and daemon there are warnings, and status 0."""
    report = examine()

    assert (report.status, report.state) == (0, "warning")
    assert report.of("daemon")[0].mend.startswith("start one: `steplogd run`")
    assert report.states("unit") == ["skipped"]
    assert not home.exists()


def test_nothing_is_changed_in_a_home(home: Path) -> None:
    """Neither beside a store that was closed, nor in one that a killed daemon has left."""
    append(home, "r", VALUE)
    steplogd("drain")
    closed = everything_in(home)
    examine()
    after_closed = everything_in(home)
    with serving(home) as daemon:
        daemon.kill()
        daemon.wait()
    killed = everything_in(home)

    report = examine()

    assert report.states("store") == ["ok"]
    assert closed == after_closed
    assert killed == everything_in(home)


def test_all_is_well_beside_a_daemon(home: Path) -> None:
    """It is named, and its store is read while it is held."""
    append(home, "r", VALUE)
    with serving(home) as daemon:
        report = examine()

    assert (report.status, report.of("store"), report.of("spools")) == (0, [], [])
    (found,) = [finding for finding in report.findings if finding.check == "daemon"]
    assert (found.state, f"process {daemon.pid} serves" in found.text) == ("ok", True)


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_wrong_configuration_is_78(home: Path, words: list[str]) -> None:
    """As everywhere; whatever needs it is skipped, and nothing is made."""
    path = configure(home, "zzz = 1")

    told = steplogd("doctor", *words, "--config", path)

    assert told.returncode == 78
    assert "there is no key 'zzz'" in told.stdout
    assert (told.stderr, home.exists()) == ("", False)


def test_configuration_that_is_not_there_is_78(home: Path) -> None:
    """The file that was named is not silently passed over."""
    report = examine("--config", str(home.parent / "absent.toml"))

    assert report.status == 78
    assert "there is no such file" in report.of("configuration")[0].text
    assert set(report.states("home")) == {"skipped"}


def test_something_wrong_is_status_1(home: Path) -> None:
    """Each has a mark, a sentence, and how to mend it on the next line."""
    home.mkdir(mode=0o700)
    (home / "steplog.db").write_bytes(b"garbage" * 1000)

    told = steplogd("doctor")

    lines = told.stdout.splitlines()
    (at,) = (number for number, text in enumerate(lines) if text.startswith("wrong    store"))
    assert (told.returncode, told.stderr) == (1, "")
    assert str(home / "steplog.db") in lines[at]
    assert "start `steplogd run`, or `steplogd drain`" in lines[at + 1]
    assert lines[-1].startswith("1 wrong, ")


def test_password_of_a_backend_is_masked(home: Path) -> None:
    """And that others can read it is told."""
    url = "http://ann:hunter22@127.0.0.1:9"
    path = configure(home, f'[[backend]]\ntype = "mlflow"\nserver_url = "{url}"')
    Path(path).chmod(0o644)

    told = steplogd("doctor", "--config", path)

    assert told.returncode == 1
    assert "no MLflow server answers at http://127.0.0.1:9 (Connection refused)" in told.stdout
    assert "anybody on this machine can read the credentials" in told.stdout
    assert "hunter22" not in told.stdout + told.stderr


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_secret_is_masked_wherever_it_stands(
    home: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """Somebody has put it in the place of a name, say."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter33")
    path = configure(home, '[[backend]]\ntype = "memory"\nname = "hunter33"')

    told = steplogd("doctor", *words, "--config", path)

    assert "cannot be asked" in told.stdout
    assert "hunter33" not in told.stdout


def test_configuration_that_anybody_can_write_is_warned_of(home: Path) -> None:
    """Whoever changes it says where the daemon delivers to."""
    path = configure(home)
    Path(path).chmod(0o666)

    (found,) = examine("--config", path).of("configuration")

    assert (found.state, found.mend) == ("warning", f"chmod o-w {path}")


@pytest.mark.parametrize("timeout", ["soon", "-1", "nan"])
def test_timeout_that_is_none_is_refused(timeout: str) -> None:
    """In one sentence."""
    told = steplogd("doctor", "--timeout", timeout)

    assert (told.returncode, told.stderr.count("\n")) == (2, 1)


@pytest.fixture
def served_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve the usual home of a user, who has another one in this shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = tmp_path / ".local" / "state" / "steplog"
    with serving(usual):
        yield usual


def test_shell_that_tracks_where_nobody_serves_is_told(home: Path, served_elsewhere: Path) -> None:
    """The daemon serves the usual home, say, and this shell has STEPLOG_HOME."""
    (found,) = examine().of("environment")

    assert f"goes to {home}, which nobody serves" in found.text
    assert found.mend == f"export STEPLOG_HOME={served_elsewhere}"


def test_shell_with_another_home_than_the_configuration_is_told(home: Path) -> None:
    """What is tracked there never arrives."""
    other = home.parent / "other home"
    path = configure(home, f'home = "{other}"')

    (found,) = examine("--config", path).of("environment")

    assert found.mend == f"export STEPLOG_HOME='{other}'"


def test_spool_from_the_future_is_wrong(home: Path) -> None:
    """Its age says nothing until the clock has come there."""
    path = append(home, "r", VALUE)
    tomorrow = time.time() + 86_400
    os.utime(path, (tomorrow, tomorrow))

    report = examine()

    (found,) = report.of("clock")
    assert (report.status, found.state, "the spool of run r" in found.text) == (1, "wrong", True)


def test_daemon_that_may_open_few_files_is_warned_of(home: Path) -> None:
    """Its own limit counts, not that of this shell."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from steplogd.__main__ import main; main(['run'])"
    )
    with serving(home, program=program) as daemon:
        (found,) = examine().of("open-files")

    assert f"process {daemon.pid} may have 64 files open" in found.text
    assert "LimitNOFILE" in found.mend
