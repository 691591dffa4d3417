"""What `steplogd doctor` finds of units, lingering and clock, told by programs like systemd's."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steplogd.doctor import systemctl
from tests.daemon import serving
from tests.doctor import Report, examine

if TYPE_CHECKING:
    from steplogd.doctor.finding import Finding

PROGRAM = Path(sys.executable).parent / "steplogd"
ACTIVE = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "FragmentPath": "/etc/systemd/system/steplogd.service",
    "ExecStart": f"{{ path={PROGRAM} ; argv[]={PROGRAM} run ; ignore_errors=no ; pid=0 }}",
    "Result": "success",
    "ExecMainStatus": "0",
    "ActiveEnterTimestamp": "Mon 2026-11-30 09:00:00 UTC",
    "MainPID": "0",
    "NRestarts": "0",
    "NeedDaemonReload": "no",
    "StatusText": "2 runs open",
}
OFF = {"ActiveState": "inactive", "SubState": "dead", "UnitFileState": "disabled"}


class Systemd:
    """Programs that say what a test wants; real processes, found on the PATH.

    Attributes:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.program(
            "systemctl",
            f"""
            where=system
            for word; do
                case $word in --user) where=user;; esac
            done
            if [ -e "{folder}/$where/$word" ]; then exec /bin/cat "{folder}/$where/$word"; fi
            echo LoadState=not-found
            """,
        )
        self.program("timedatectl", "echo NTPSynchronized=yes")
        self.program("loginctl", "echo Linger=yes")

    def program(self, name: str, script: str) -> None:
        """Put a program there, or another in its place."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}\n")
        path.chmod(0o755)

    def has(self, where: str = "system", name: str = "steplogd.service", **other: str) -> None:
        """Install a unit of which all is well, but for some properties."""
        (self.folder / where).mkdir(exist_ok=True)
        said = "".join(f"{key}={value}\n" for key, value in (ACTIVE | other).items())
        (self.folder / where / name).write_text(said)


@pytest.fixture
def systemd(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """Let these programs alone be found."""
    assert home
    made = Systemd(tmp_path / "programs")
    monkeypatch.setenv("PATH", str(made.folder))
    return made


def unit(report: Report) -> Finding:
    """Return the one thing that is not as it should be with the unit."""
    (found,) = report.of("unit")
    return found


def test_unit_of_which_all_is_well_is_ok(systemd: Systemd) -> None:
    """Since when it is active is told, and what it says of itself."""
    systemd.has()

    report = examine()

    (found,) = [finding for finding in report.findings if finding.check == "unit"]
    assert found.state == "ok"
    assert found.subject == "steplogd.service"
    assert "active since Mon 2026-11-30 09:00:00 UTC; it says: 2 runs open" in found.text


def test_no_unit_is_warned_of(systemd: Systemd) -> None:
    """Nobody starts a daemon by itself then."""
    assert systemd

    found = unit(examine())

    assert (found.state, found.mend) == ("warning", "steplogd install")


@pytest.mark.parametrize(
    ("said", "state", "text", "mend"),
    [
        (OFF | {"UnitFileState": "enabled"}, "wrong", "is not started", "sudo systemctl start"),
        ({"UnitFileState": "disabled"}, "warning", "not enabled", "sudo systemctl enable"),
        (
            {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78"},
            "wrong",
            "(status 78, the configuration is wrong: see `steplogd check`)",
            "sudo journalctl -u steplogd.service",
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "7"}
            | {"Result": "exit-code", "ExecMainStatus": "73"},
            "wrong",
            "another daemon holds the home), after 7 restarts",
            "sudo systemctl restart",
        ),
        ({"ActiveState": "activating", "SubState": "start"}, "warning", "not ready", "again"),
        (
            {"ActiveState": "activating", "SubState": "start-pre", "NRestarts": "3"},
            "wrong",
            "is activating: it ended, and was started again 3 times",
            "sudo journalctl -u steplogd.service",
        ),
        (OFF | {"LoadState": "masked"}, "wrong", "masked", "sudo systemctl unmask"),
        (OFF | {"LoadState": "bad-setting"}, "wrong", "cannot load", "systemd-analyze verify"),
        ({"NeedDaemonReload": "yes"}, "warning", "has changed", "sudo systemctl daemon-reload"),
        (
            {"ExecStart": "{ path=/opt/gone/bin/steplogd ; argv[]=/opt/gone/bin/steplogd run }"},
            "wrong",
            "/opt/gone/bin/steplogd, which is not there",
            "steplogd install",
        ),
        (
            {"ExecStart": "{ path=/bin/env ; argv[]=/bin/env /bin/sh run ; pid=0 }"},
            "warning",
            "starts /bin/sh, and this is the steplogd in",
            "or `steplogd install` from here",
        ),
    ],
)
def test_what_is_wrong_with_a_unit_is_told(
    systemd: Systemd, said: dict[str, str], state: str, text: str, mend: str
) -> None:
    """In one finding, with the very command."""
    systemd.has(**said)

    report = examine()

    found = unit(report)
    assert (found.state, report.status) == (state, 1 if state == "wrong" else 0)
    assert text in found.text
    assert mend in found.mend


def test_unit_that_reloads_is_ok(systemd: Systemd) -> None:
    """However often it was started again long ago."""
    systemd.has(ActiveState="reloading", SubState="reload", NRestarts="3")

    assert examine().states("unit") == ["ok"]


def test_program_that_a_path_decides_is_not_judged(systemd: Systemd) -> None:
    """Nobody knows from here which one that is."""
    systemd.has(ExecStart="{ path=/usr/bin/env ; argv[]=/usr/bin/env steplogd run ; pid=0 }")

    assert examine().of("unit") == []


def test_unit_of_the_user_is_found(systemd: Systemd) -> None:
    """And that his daemon ends with his last session."""
    systemd.has("user", ActiveState="failed", Result="signal", ExecMainStatus="9")
    systemd.program("loginctl", "echo Linger=no")

    report = examine()

    assert "journalctl --user -u steplogd.service" in unit(report).mend
    assert "systemctl --user restart steplogd.service" in unit(report).mend
    (found,) = report.of("lingering")
    assert found.mend == f"sudo loginctl enable-linger {getpass.getuser()}"


def test_instance_of_a_template_is_found(systemd: Systemd) -> None:
    """By the name of the home's owner; the unit that is installed and off does not matter then."""
    systemd.has(**OFF)
    systemd.has("system", f"steplogd@{getpass.getuser()}.service")

    report = examine()

    assert report.of("unit") == []
    assert report.states("unit") == ["ok"]


def test_daemon_beside_the_unit_is_warned_of(home: Path, systemd: Systemd) -> None:
    """It serves the home, and systemd knows nothing of it."""
    systemd.has(**OFF, MainPID="0")
    with serving(home) as daemon:
        report = examine()

    found = report.of("unit")[-1]
    assert f"process {daemon.pid}, which serves the home, was not started by systemd" in found.text
    assert "sudo systemctl start steplogd.service" in found.mend


def test_daemon_of_the_unit_is_known(home: Path, systemd: Systemd) -> None:
    """By its process."""
    with serving(home) as daemon:
        systemd.has(MainPID=str(daemon.pid))
        report = examine()

    assert report.of("unit") == []


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'System has not been booted with systemd.' >&2; exit 1", "has not been booted"),
        ("exec /bin/sleep 60", "did not answer within"),
    ],
)
def test_systemd_that_does_not_answer_is_skipped(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    """Quickly."""
    monkeypatch.setattr(systemctl, "ASK_SECONDS", 0.2)
    systemd.program("systemctl", script)

    with pytest.raises(systemctl.Silent, match=why):
        systemctl.ask("systemctl", "show", "steplogd.service")


def test_clock_that_nobody_sets_is_warned_of(systemd: Systemd) -> None:
    """It goes on, but not right."""
    systemd.program("timedatectl", "echo NTPSynchronized=no")

    (found,) = examine().of("clock")

    assert (found.state, found.mend) == ("warning", "sudo timedatectl set-ntp true")


def test_real_systemd_is_asked(home: Path) -> None:
    """Its own programs say what ours are made to say."""
    if shutil.which("systemctl") is None:
        pytest.skip("there is no systemctl")
    done = subprocess.run(["systemctl", "show", "-p", "Version"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("systemd does not run here")

    report = examine()

    assert home
    assert report.states("unit") != []
    assert "skipped" not in report.states("unit")
