"""The units: systemd finds nothing to say against them, and they agree where they should."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steplogd.config import Settings
from steplogd.exit_statuses import EXIT_CONFIG
from steplogd.installation.units import MARK, filled_in, marked, over_home, quoted, template
from tests.conftest import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS = ("system/steplogd.service", "system/steplogd@.service", "user/steplogd.service")
SLICE = "system/steplog.slice"
MOST_EXPOSURE = 1.5
DIFFERENT = {
    *("Description", "After", "ExecStart", "User", "Group", "Environment", "EnvironmentFile"),
    *("RuntimeDirectory", "RuntimeDirectoryMode", "LoadCredential", "WantedBy"),
    *("AmbientCapabilities", "CapabilityBoundingSet", "RequiresMountsFor"),
}
"""What each unit says in its own way; that a hardening is left out is said beside it."""


@pytest.fixture
def analyze(tmp_path: Path) -> Callable[..., str]:
    """Give `systemd-analyze`, which returns all that it says; or skip."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze: apt-get install systemd")

    def call(*words: str) -> str:
        done = subprocess.run(
            ["systemd-analyze", *words],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        return done.stdout

    return call


def settings(unit: str) -> dict[str, list[str]]:
    """Return what a unit sets, by name."""
    found: dict[str, list[str]] = {}
    for line in template(unit).replace("\\\n", " ").splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def manager(unit: str) -> str:
    """Return the option by which `systemd-analyze` takes a unit for what it is."""
    return "--user" if unit.startswith("user/") else "--system"


def written(unit: str, folder: Path, text: str) -> str:
    """Write a unit where it has its name; return its path."""
    path = folder / Path(unit).name.replace("@", "@somebody")
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("unit", [*UNITS, SLICE])
def test_systemd_says_nothing_against_a_unit(
    unit: str, analyze: Callable[..., str], tmp_path: Path
) -> None:
    """As it comes: it prints what is wrong, and exits with 0."""
    said = analyze("verify", manager(unit), written(unit, tmp_path, template(unit)))

    assert said == ""


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_says_what_is_wrong(unit: str, analyze: Callable[..., str], tmp_path: Path) -> None:
    """Else the test above would hold of anything."""
    wrong = template(unit).replace("RestartSec=5s", "RestartSec=5s\nRestartSlowly=yes")

    assert "RestartSlowly" in analyze("verify", manager(unit), written(unit, tmp_path, wrong))


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_finds_its_program_wherever_it_is_installed(
    unit: str, analyze: Callable[..., str], tmp_path: Path
) -> None:
    """Systemd reads the path back, and the others' words, whatever is in them."""
    odd = tmp_path / "a b%h;#c"
    odd.mkdir()
    program = odd / "steplogd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = filled_in(
        template(unit),
        [str(program)],
        ["--config", f"{odd}/$HOME.toml"],
        {"STEPLOG_HOME": f"{odd} $x\\\"'"},
        [str(odd)],
    )

    said = analyze("verify", manager(unit), written(unit, tmp_path, marked(text, "1")))
    program.unlink()
    without = analyze("verify", manager(unit), written(unit, tmp_path, text))

    assert said == ""
    assert "not executable" in without


def test_a_program_that_systemd_cannot_name_is_started_all_the_same(
    analyze: Callable[..., str], tmp_path: Path
) -> None:
    """Quotes, backslashes and dollars are refused in the first word alone."""
    odd = str(tmp_path / 'it\'s $HOME\\ "x"')
    text = filled_in(template(UNITS[0]), [odd])

    assert analyze("verify", "--system", written(UNITS[0], tmp_path, text)) == ""
    assert f"ExecStart=/usr/bin/env {quoted(odd)} run" in text


def test_the_shared_daemon_is_hardly_exposed(analyze: Callable[..., str]) -> None:
    """What it is left with: sockets, the users of the machine, and its home."""
    path = Path(__file__).parents[2] / "systemd/system/steplogd.service"

    said = analyze("security", "--offline=true", "--no-pager", str(path)).splitlines()[-1]

    assert float(said.split(":")[1].split()[0]) <= MOST_EXPOSURE


@pytest.mark.parametrize("unit", UNITS[1:])
def test_units_agree_on_how_the_daemon_is_kept(unit: str) -> None:
    """Whatever two of them set, they set alike, but for what makes them different."""
    shared, other = settings(UNITS[0]), settings(unit)
    both = (shared.keys() & other.keys()) - DIFFERENT - {"ProtectSystem"}

    assert {name: other[name] for name in both} == {name: shared[name] for name in both}
    assert len(both) > 20


@pytest.mark.parametrize("unit", UNITS[:2])
def test_the_daemons_of_a_machine_give_way_to_who_is_logged_in(unit: str) -> None:
    """By a slice of the top, beside user.slice: weights mean nothing across two parents."""
    name = Path(SLICE).name

    assert settings(unit)["Slice"] == [name]
    assert "-" not in name
    assert {key: settings(SLICE)[key] for key in ("CPUWeight", "IOWeight")} == {
        "CPUWeight": ["20"],
        "IOWeight": ["20"],
    }


@pytest.mark.parametrize("unit", UNITS)
def test_a_stop_has_time_to_drain(unit: str) -> None:
    """Twice what the daemon waits for batches in flight, as it closes what is open after that."""
    (timeout,) = settings(unit)["TimeoutStopSec"]

    assert 2 * Settings().shutdown_seconds < float(timeout.removesuffix("s"))


@pytest.mark.parametrize("unit", UNITS)
def test_only_a_bad_configuration_is_for_good(unit: str) -> None:
    """Nothing else ends the restarts, however many there were."""
    found = settings(unit)

    assert found["Restart"] == ["always"]
    assert found["RestartPreventExitStatus"] == [str(EXIT_CONFIG)]
    assert found["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_failure_rests_twice_as_long_as_the_last_one(unit: str, tmp_path: Path) -> None:
    """Up to a minute; a stop that went well starts over."""
    (command,) = settings(unit)["ExecStopPost"]
    script = command.removeprefix("-/bin/sh -c '").removesuffix("'").replace("$$", "$")
    results = ["exit-code", *["watchdog"] * 6, "success", "signal"]

    rests = []
    for result in results:
        environment = {"RUNTIME_DIRECTORY": str(tmp_path), "SERVICE_RESULT": result}
        subprocess.run(
            ["/bin/sh", "-c", script], env=environment | {"PATH": os.environ["PATH"]}, check=True
        )
        rests.append(int((tmp_path / "rest").read_text()))

    assert rests == [1, 3, 7, 15, 31, 60, 60, 0, 1]


@pytest.mark.parametrize("unit", UNITS)
def test_a_daemon_that_systemd_cannot_start_is_not_tried_every_second(unit: str) -> None:
    """Its user is gone, so that what should wait between two starts cannot be started either."""
    assert settings(unit)["RestartSec"] == ["5s"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_failure_after_a_long_life_is_the_first(unit: str, tmp_path: Path) -> None:
    """Ten minutes without one are enough."""
    (command,) = settings(unit)["ExecStopPost"]
    script = command.removeprefix("-/bin/sh -c '").removesuffix("'").replace("$$", "$")
    rest = tmp_path / "rest"
    rest.write_text("31\n")
    os.utime(rest, (0, 0))

    environment = {"RUNTIME_DIRECTORY": str(tmp_path), "SERVICE_RESULT": "signal"}
    subprocess.run(
        ["/bin/sh", "-c", script], env=environment | {"PATH": os.environ["PATH"]}, check=True
    )

    assert rest.read_text() == "1\n"


def test_a_unit_is_filled_in_with_what_it_is_told() -> None:
    """The program, what follows `run`, variables, folders; all else stays as it is."""
    unit = template("system/steplogd.service")

    text = filled_in(unit, ["/opt/s/bin/steplogd"], writable=["/data/steplog"])

    assert set(text.splitlines()) - set(unit.splitlines()) == {
        "ExecStart=/opt/s/bin/steplogd run --config /etc/steplog/steplogd.toml",
        "ReadWritePaths=/data/steplog",
        "RequiresMountsFor=/data/steplog",
    }


@pytest.mark.parametrize("unit", UNITS[:2])
def test_a_home_that_is_mounted_is_there_first(unit: str) -> None:
    """Whatever is in its path; else the daemon would make one below the mount."""
    text = filled_in(template(unit), ["/bin/x"], writable=["/mnt/a b%h"])

    head, _, _ = text.partition("[Service]")
    assert '\nRequiresMountsFor="/mnt/a b%%h"\n' in head
    assert " remote-fs.target " in settings(unit)["After"][0]
    assert settings(UNITS[1])["RequiresMountsFor"] == ["/home/%i"]


def test_words_are_quoted_only_where_they_must_be() -> None:
    """A unit is read by people, too."""
    assert quoted("/opt/steplog/bin/steplogd") == "/opt/steplog/bin/steplogd"
    assert quoted("a b") == '"a b"'
    assert quoted("") == '""'
    assert quoted("50%$x") == "50%%$$x"
    assert quoted("a\nUser=root") == '"a\\nUser=root"'
    assert quoted("A=50%$x", is_argument=False) == "A=50%%$x"


@pytest.mark.parametrize("home", ["/data/a b", "/data/50%h", "/data/a\\b", "/data/plain"])
def test_systemd_makes_folders_and_users_of_an_odd_home(home: str, tmp_path: Path) -> None:
    """Blanks end no path in their files, and percent signs begin nothing."""
    if shutil.which("systemd-tmpfiles") is None or os.geteuid() != 0:
        pytest.skip("only root can have systemd-tmpfiles make folders: apt-get install systemd")
    folders, users = tmp_path / "folders.conf", tmp_path / "users.conf"
    folders.write_text(over_home(template("tmpfiles.d/steplog.conf"), home))
    users.write_text(over_home(template("sysusers.d/steplog.conf"), home))
    (tmp_path / "etc").mkdir()

    for command in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        path = users if command[0] == "systemd-sysusers" else folders
        subprocess.run([*command, f"--root={tmp_path}", path], check=True)

    below = Path(f"{tmp_path}{home}")
    assert {path.name for path in below.iterdir()} == {"spool", "catalog"}
    assert (below / "spool").stat().st_mode & 0o7777 == 0o3733
    assert f":{home}:" in (tmp_path / "etc/passwd").read_text()


def test_a_newer_steplog_makes_another_file() -> None:
    """By which an upgrade is noticed, and the daemon restarted."""
    assert marked("x", "1.0") != marked("x", "1.1")
    assert marked("x", "1.0").startswith(MARK)
