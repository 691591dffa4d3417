"""Each user's own daemon on one machine: kept by root, or by the user himself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.systemd.shared import BIN, PYTHON, STEPLOGD, TRACK

if TYPE_CHECKING:
    from tests.systemd.box import Box

STEPLOG = f"{BIN}/steplog"
UNIT_FILE = "/etc/systemd/system/steplogd@.service"
SPY = """
import os, sys
home = "/home/alice/.local/state/steplog"
attempts = {
    "list the home": lambda: os.listdir(home),
    "list the spools": lambda: os.listdir(home + "/spool"),
    "read a spool": lambda: open(home + "/spool/alices.jsonl", "rb"),
    "read the store": lambda: open(home + "/steplog.db", "rb"),
    "append": lambda: open(home + "/spool/alices.jsonl", "ab"),
}
for what, attempt in attempts.items():
    try:
        attempt()
    except PermissionError:
        continue
    print(what)
"""


def runs_of(box: Box, user: str) -> list[str]:
    """Return the runs that a user sees."""
    return [run["run_id"] for run in json.loads(box.does(STEPLOG, "ls", "--json", user=user))]


def tracks_and_drains(box: Box, user: str, run_id: str) -> None:
    """Have a task of a user track, and wait until his daemon has folded it."""
    box.does(PYTHON, "-c", TRACK, run_id, "10", user=user)
    box.does(STEPLOGD, "drain", user=user)


@pytest.fixture
def open_houses(box: Box) -> None:
    """Let everybody go through home directories, as many a distribution does."""
    box.does("chmod", "755", "/home/alice", "/home/bob")


@pytest.mark.usefixtures("open_houses")
def test_users_of_one_node_cannot_see_each_others_runs(box: Box) -> None:
    """Each has a daemon that runs as him, over his own home."""
    for user in ("alice", "bob"):
        box.does(STEPLOGD, "install", "--for", user)
        tracks_and_drains(box, user, f"{user}s")

    owners = [box.shows(f"steplogd@{user}", "User") for user in ("alice", "bob")]
    assert owners == ["alice", "bob"]
    assert [runs_of(box, user) for user in ("alice", "bob")] == [["alices"], ["bobs"]]
    assert box.does(PYTHON, "-c", SPY, user="bob") == ""
    assert len(box.does(PYTHON, "-c", SPY, user="alice").splitlines()) == 5


def test_a_users_daemon_goes_alone(box: Box) -> None:
    """The unit stays until the last one has gone."""
    for user in ("alice", "bob"):
        box.does(STEPLOGD, "install", "--for", user)

    box.does(STEPLOGD, "uninstall", "--for", "alice")
    states = [box.shows(f"steplogd@{user}", "ActiveState") for user in ("alice", "bob")]
    is_there = box.runs("test", "-e", UNIT_FILE).returncode == 0
    box.does(STEPLOGD, "uninstall", "--for", "bob")

    assert states == ["inactive", "active"]
    assert is_there
    assert box.runs("test", "-e", UNIT_FILE).returncode == 1


def test_a_wrong_configuration_of_a_user_is_told_to_root(box: Box) -> None:
    """Before anything is installed."""
    config = "/home/bob/.config/steplog/steplogd.toml"
    box.writes(config, "grace_second = 1")

    told = box.runs(STEPLOGD, "install", "--for", "bob")

    assert told.returncode == 78
    assert f"{config}: there is no key 'grace_second'" in told.stderr
    assert box.runs("test", "-e", UNIT_FILE).returncode == 1
    box.does("rm", config)


def test_a_home_that_is_held_is_taken_over_later(box: Box) -> None:
    """By a daemon that somebody started by hand: it is said, and waited for."""
    by_hand = ("systemd-run", "--quiet", "--unit=by-hand", "--uid=bob", "-E", "HOME=/home/bob")
    box.does(*by_hand, STEPLOGD, "run")
    box.waits(f"runuser -u bob -- {STEPLOGD} status --json | grep -q '\"pid\": [0-9]'")

    told = box.runs(STEPLOGD, "install", "--for", "bob")
    box.does("systemctl", "stop", "by-hand")
    box.waits("systemctl --quiet is-active steplogd@bob")
    box.does(STEPLOGD, "uninstall", "--for", "bob")

    assert told.returncode == 1
    assert "another steplogd holds the home" in told.stderr
    assert told.stderr.count("\n") == 1


def test_who_has_no_service_manager_is_told_how_to_get_one(box: Box) -> None:
    """He came by `su`, and nobody is logged in as him."""
    told = box.runs(STEPLOGD, "install", user="bob")

    assert told.returncode == 1
    assert "loginctl enable-linger" in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_person_installs_a_daemon_of_his_own(box: Box) -> None:
    """In his own manager; it serves, comes back, is said to linger, and goes again."""
    box.does("loginctl", "enable-linger", "alice")
    box.waits("systemctl --quiet is-active user@$(id -u alice).service")

    said = box.does(STEPLOGD, "install", user="alice")
    tracks_and_drains(box, "alice", "by-herself")
    elsewhere = "/home/alice/elsewhere"  # of which her manager does not know
    again = box.does(STEPLOGD, "install", user="alice", XDG_CONFIG_HOME=elsewhere)
    runs = runs_of(box, "alice")
    gone = box.does(STEPLOGD, "uninstall", user="alice")

    assert "steplogd.service is active: serving /home/alice/.local/state/steplog" in said
    assert "journalctl --user -u steplogd.service" in said
    assert "It ends when you log out" not in said
    assert "by-herself" in runs
    assert "write" not in again
    assert "remove /home/alice/.config/systemd/user/steplogd.service" in gone
    assert "by-herself" in runs_of(box, "alice")
