"""What `steplogd doctor` finds of a home: its folder, permissions, disk, spools and store."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import textwrap
from typing import TYPE_CHECKING

import pytest
from inotify_simple import INotify

from steplog.home import spool_path
from steplogd import mounts
from steplogd.config import Config, Settings
from steplogd.doctor import file_system, store
from steplogd.doctor.patient import admit
from steplogd.doctor.probe import probe
from tests.conftest import wait_until
from tests.daemon import configure, steplogd
from tests.disks import fill, mounted_or_skipped, use_up_files
from tests.doctor import Report, everything_in, examine, read
from tests.lines import append, line
from tests.people import DAEMON, Person, open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VALUE = line("track", values={"x": 1})
CAROL = Person(61_009)
"""A user of whom nobody else has processes: limits of his are reached by him alone."""


def examined_by(person: Person, home: Path, *arguments: str) -> Report:
    """Run it as somebody else."""
    told = person.calls(home, "-m", "steplogd", "doctor", "--json", *arguments)
    assert told.stderr == ""
    return read(told.returncode, told.stdout)


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder that every user of this machine can go through."""
    with open_folder() as folder:
        yield folder


@pytest.mark.parametrize("name", ["", "spool"])
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o702])
def test_folder_that_is_open_to_others_is_warned_of(home: Path, name: str, mode: int) -> None:
    """With the very command that closes it."""
    (home / "spool").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    (home / name).chmod(mode)

    report = examine()

    (found,) = report.of("permissions")
    assert (report.status, found.state) == (0, "warning")
    assert subprocess.run(found.mend, shell=True, check=False).returncode == 0
    assert examine().of("permissions") == []


def test_group_may_look_into_a_home(home: Path) -> None:
    """A daemon in it, say: spools are open to it as well."""
    home.mkdir(mode=0o750)

    assert examine().of("permissions") == []


def test_what_root_left_in_a_home_is_wrong(place: Path) -> None:
    """After a `sudo steplogd drain`, say, the daemon cannot write; the command mends it."""
    home = place / "home"
    home.mkdir(mode=0o700)
    (home / "steplog.db").touch()
    os.chown(home, CAROL.uid, CAROL.uid)

    report = examined_by(CAROL, home)

    (found,) = report.of("permissions")
    assert (report.status, "steplog.db" in found.text) == (1, True)
    subprocess.run(found.mend.removeprefix("sudo "), shell=True, check=True)
    assert (home / "steplog.db").stat().st_uid == CAROL.uid


def test_home_of_another_user_is_wrong(place: Path) -> None:
    """Who may not see it gets one sentence of it, and nothing but skipped checks after it."""
    home = place / "home"
    append(home, "r", VALUE)
    home.chmod(0o700)

    report = examined_by(CAROL, home)

    (found,) = report.of("home")
    assert (report.status, found.mend) == (1, "sudo -u root steplogd doctor; or another home")
    assert {*report.states("store"), *report.states("spools")} == {"skipped"}


def test_home_below_a_closed_folder_is_wrong(place: Path) -> None:
    """Nobody can tell whether it is there."""
    closed = place / "closed"
    closed.mkdir(mode=0o700)

    report = examined_by(CAROL, closed / "home")

    assert report.status == 1
    assert "cannot be seen by this user" in report.of("home")[0].text


def test_home_that_cannot_be_made_is_wrong(place: Path) -> None:
    """For it would lie in a folder of another's."""
    home = place / "home"

    (found,) = examined_by(CAROL, home).of("home")

    assert f"this user cannot make it in {place}" in found.text
    assert str(home) in found.mend


def test_shared_home_that_cannot_be_shared_is_78(home: Path) -> None:
    """As `steplogd run` says; here others cannot go through the folder above."""
    home.parent.chmod(0o700)
    path = configure(home, "shared = true")
    home.mkdir()

    report = examine("--config", path)

    assert report.status == 78
    assert f"cannot go through {home.parent}" in report.of("permissions")[0].text


def test_user_of_a_shared_home_sees_who_serves_it(place: Path) -> None:
    """All else of it is the daemon's, and skipped."""
    state = place / "state"
    state.mkdir()
    os.chown(state, DAEMON.uid, DAEMON.uid)
    home, path = state / "home", place / "steplogd.toml"
    path.write_text(f'home = "{home}"\nshared = true\n')
    path.chmod(0o644)
    log = place / "steplogd.log"
    with log.open("wb") as stderr:
        command = ("-m", "steplogd", "run", "--config", str(path))
        daemon = DAEMON.starts(home, *command, stderr=stderr.fileno())
    try:
        wait_until(lambda: b'"serving"' in log.read_bytes() or daemon.poll() is not None)
        report = examined_by(CAROL, home, "--config", str(path))
    finally:
        daemon.terminate()
        daemon.communicate()

    assert (report.status, report.states("daemon"), report.states("home")) == (0, ["ok"], ["ok"])
    assert report.states("store") == ["skipped"]


def test_full_disk_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than `min_free` is left: tasks cannot track."""
    with mounted_or_skipped(tmp_path / "disk", "tmpfs") as disk:
        monkeypatch.setenv("STEPLOG_HOME", str(disk / "home"))
        fill(disk, 4096)

        report = examine()

    (found,) = report.of("disk")
    assert (report.status, found.state) == (1, "wrong")
    assert "(min_free) are left to tasks: run logs do not grow" in found.text


def test_disk_that_is_nearly_full_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that it is one in memory."""
    with mounted_or_skipped(tmp_path / "disk", "tmpfs") as disk:
        monkeypatch.setenv("STEPLOG_HOME", str(disk / "home"))
        fill(disk, 128 * 1024)

        report = examine()

    assert report.status == 0
    assert "free some soon" in report.of("disk")[0].mend
    assert "a reboot takes it all" in report.of("file-system")[0].text


def test_disk_without_inodes_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many bytes are free: a run needs a file."""
    with mounted_or_skipped(tmp_path / "disk", "tmpfs", flags="nr_inodes=20") as disk:
        monkeypatch.setenv("STEPLOG_HOME", str(disk / "home"))
        use_up_files(disk)

        report = examine()

    (found,) = report.of("disk")
    assert (report.status, "0 files can be made" in found.text) == (1, True)


def test_file_system_that_is_read_only_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For root too."""
    with mounted_or_skipped(tmp_path / "disk", "tmpfs") as disk:
        (disk / "home").mkdir(mode=0o700)
        monkeypatch.setenv("STEPLOG_HOME", str(disk / "home"))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

        report = examine()

    assert report.status == 1
    assert "mounted read-only" in report.of("home")[0].mend


def test_home_on_a_network_file_system_is_warned_of(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appends of several machines may interleave there."""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / {home} rw - nfs4 nas:/x rw\n")
    monkeypatch.setattr(mounts, "_TABLE", table)

    (found,) = file_system.look(admit(Config(home, Settings()), 1.0))

    assert (found.check, found.state) == ("file-system", "warning")
    assert f"network file system (nfs4 at {home})" in found.text


def test_file_system_is_tried_out_without_a_trace(tmp_path: Path) -> None:
    """It has locks, appends, can be mapped, and has our clock."""
    before = everything_in(tmp_path)

    found = probe(tmp_path)

    if found is None:
        pytest.skip("it has no files without names")
    assert found[:3] == (True, True, True)
    assert abs(found.seconds_ahead) < 5
    assert everything_in(tmp_path) == before


def test_user_without_another_instance_of_inotify_is_told(place: Path) -> None:
    """With the line for sysctl; the kernel's own refusal is what counts."""
    code = """
        import os, sys
        from inotify_simple import INotify
        held = []
        try:
            while len(held) < 5000:
                held.append(INotify())
        except OSError:
            pass
        print("held", flush=True)
        sys.stdin.read()
    """
    hog = CAROL.starts(place, "-c", textwrap.dedent(code))
    assert hog.stdout is not None
    assert hog.stdout.readline() == "held\n"
    try:
        report = examined_by(CAROL, place / "home")
    finally:
        hog.communicate()

    (found,) = report.of("inotify")
    assert "instances of user #61009 are in use" in found.text
    assert found.state == "wrong"
    assert "sudo sysctl fs.inotify.max_user_instances=" in found.mend
    assert "| sudo tee -a /etc/sysctl.d/" in found.mend  # which keeps what another mend put there


def test_instances_of_this_user_are_counted(home: Path) -> None:
    """Those of other programs too."""
    (before,) = [one for one in examine().findings if one.check == "inotify"]
    with INotify():
        (now,) = [one for one in examine().findings if one.check == "inotify"]

    assert int(now.text.split()[0]) >= 1
    assert before.state == now.state == "ok"


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_spool_that_is_none_is_warned_of(home: Path, what: str) -> None:
    """By its name, and without waiting for a pipe."""
    append(home, "good", VALUE)
    path = spool_path(home, "bad")
    if what == "link":
        path.symlink_to("/etc/passwd")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()

    (found,) = examine().of("spools")

    assert str(path) in found.text
    assert found.state == "warning"


def test_spool_that_the_daemons_user_cannot_read_is_told_to_root(place: Path) -> None:
    """Who could read it, and would not notice."""
    home = place / "home"
    path = append(home, "r", VALUE)
    for folder in (home, home / "spool"):
        os.chown(folder, CAROL.uid, CAROL.uid)
    path.chmod(0o600)
    told = steplogd("doctor", "--json", "--config", configure(home, f'home = "{home}"'))

    (found,) = read(told.returncode, told.stdout).of("spools")

    assert f"not for the daemon's user #{CAROL.uid}" in found.text


def test_store_of_another_version_is_wrong(home: Path) -> None:
    """Which one it is, and what becomes of it."""
    steplogd("drain")
    connection = sqlite3.connect(home / "steplog.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    report = examine()

    (found,) = report.of("store")
    assert (report.status, "schema version 99" in found.text) == (1, True)


def test_pipe_in_place_of_a_store_is_wrong(home: Path) -> None:
    """It is no empty store that will be made."""
    home.mkdir()
    os.mkfifo(home / "steplog.db")

    (found,) = examine().of("store")

    assert found.text == f"{home}/steplog.db is no file"


def test_store_with_a_broken_page_is_wrong(home: Path) -> None:
    """Found by its structure; its beginning is in order."""
    append(home, "r", *[line("track", values={f"k{n}": n}) for n in range(2000)])
    steplogd("drain")
    content = bytearray((home / "steplog.db").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8192] = b"\xff" * 8192
    (home / "steplog.db").write_bytes(content)

    report = examine()

    assert (report.status, report.of("store")[0].state) == (1, "wrong")


def test_store_without_a_wal_is_warned_of(home: Path) -> None:
    """Some program has changed that."""
    steplogd("drain")
    connection = sqlite3.connect(home / "steplog.db")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()

    (found,) = examine().of("store")

    assert "without a WAL" in found.text


def test_store_that_is_locked_is_warned_of(home: Path) -> None:
    """It passes by itself, and is not waited for long."""
    steplogd("drain")
    connection = sqlite3.connect(home / "steplog.db", isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")

    report = examine()
    connection.close()

    assert "locked" in report.of("store")[0].text
    assert report.status == 0


def test_large_store_is_not_gone_through_for_minutes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could be read in the time is sound, and it says so."""
    append(home, "r", *[line("track", values={f"k{n}": n}) for n in range(20_000)])
    steplogd("drain")
    monkeypatch.setattr(store, "LOOK_SECONDS", 0.0)

    (found,) = store.look(admit(Config(home, Settings()), 1.0))

    assert found.state == "ok"
    assert "sound as far as could be read in 0 s; runs: 1" in found.text


def test_stores_that_were_set_aside_are_told(home: Path) -> None:
    """Nobody else removes them."""
    home.mkdir(mode=0o700)
    (home / "steplog.db").write_bytes(b"garbage" * 1000)
    steplogd("drain")

    (found,) = examine().of("store")

    assert "steplog.db.broken-" in found.text
