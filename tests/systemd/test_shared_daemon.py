"""One daemon for all users of a machine, under a real systemd, with all that its unit forbids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conftest import DEADLINE_SECONDS
from tests.slowed import BLOCKED_LOOP
from tests.systemd.shared import (
    BARE,
    CONFIG,
    HOME,
    PYTHON,
    SERVER,
    STEPLOGD,
    TRACK,
    UNIT,
    as_daemon,
    configures,
    drains,
    is_served_anew,
    losses,
    pid,
    starts_tracker,
    tracks,
    waits_for_tracker,
)

if TYPE_CHECKING:
    from tests.systemd.box import Box

ALL_TRACKERS = f"""{BARE}{SERVER}
[[backend]]
type = "mlflow"
name = "embedded"

[[backend]]
type = "wandb"
mode = "offline"
"""
HANGING = """
import socket
kept = []
with socket.create_server(("127.0.0.1", 5001)) as server:
    while True:
        kept.append(server.accept())
        print("connected", flush=True)
"""
_FILES = ("find", HOME, "-name", "*.jsonl", "-o", "-name", "*.db")


@pytest.fixture(scope="module")
def said(box: Box) -> str:
    """Install the service; what was said then. A tracker comes up meanwhile, with a token."""
    starts_tracker(box)
    box.writes("/etc/credstore/steplog.mlflow-token", "secret\n")
    box.writes(CONFIG, BARE)
    return box.does(STEPLOGD, "install", "--system")


@pytest.fixture
def bare(box: Box, said: str) -> Box:
    """Let it serve without any tracker."""
    assert said
    configures(box, BARE)
    return box


def test_installing_ends_when_the_daemon_serves(box: Box, said: str) -> None:
    """And says how to look at it; systemd has nothing to say against what was written."""
    verified = box.runs("systemd-analyze", "verify", f"/etc/systemd/system/{UNIT}")
    exposure = box.does("systemd-analyze", "security", "--no-pager", UNIT).splitlines()[-1]

    assert f"{UNIT} is active: serving {HOME}" in said
    assert f"systemctl status {UNIT}\n" in said
    assert (box.shows(UNIT, "UnitFileState"), box.shows(UNIT, "User")) == ("enabled", "steplog")
    assert (verified.stdout, verified.stderr) == ("", "")
    assert float(exposure.split(":")[1].split()[0]) <= 1.5


def test_a_training_wins_over_the_daemon(box: Box, said: str) -> None:
    """It is the first to go when memory is short, and the last to get the processor."""
    assert said
    assert box.does("cat", f"/proc/{pid(box)}/oom_score_adj") == "500\n"
    assert box.does("cut", "-d ", "-f19", f"/proc/{pid(box)}/stat") == "10\n"


def test_a_query_of_the_journal_finds_a_run(bare: Box) -> None:
    """And no other."""
    tracks(bare, "sought")
    tracks(bare, "another")
    drains(bare)

    found = bare.does(
        "journalctl", "-u", UNIT, "RUN_ID=sought", "-o", "json", "--output-fields=RUN_ID"
    )
    assert {json.loads(line)["RUN_ID"] for line in found.splitlines()} == {"sought"}


def test_a_killed_daemon_is_back_and_nothing_is_lost(bare: Box) -> None:
    """A task that tracks all the while does not notice."""
    slowly = TRACK.replace("steplog.track_this(", "time.sleep(0.001); steplog.track_this(")
    words = (PYTHON, "-c", f"import time{slowly}", "killed", "1500")
    before = pid(bare)
    task = bare.starts(*words, user="alice", STEPLOG_HOME=HOME)
    bare.waits(f"[ -s {HOME}/spool/killed.jsonl ]")

    bare.signals(before, "KILL")
    is_served_anew(bare, before)
    task.communicate(timeout=DEADLINE_SECONDS)
    drains(bare)

    assert task.returncode == 0
    assert len(losses(bare, "killed")) == 1500


def test_a_daemon_that_hangs_is_started_again(bare: Box) -> None:
    """By the watchdog; where it hung is in the journal."""
    quick = f"/run/systemd/system/{UNIT}.d/quick.conf"
    bare.writes(quick, "[Service]\nWatchdogSec=4s\n")
    bare.does("systemctl", "daemon-reload")
    bare.does("systemctl", "restart", UNIT)
    before = pid(bare)

    bare.signals(before, "STOP")
    is_served_anew(bare, before)

    said = bare.does("journalctl", "-u", UNIT)
    assert "Watchdog timeout" in said
    assert "Fatal Python error: Aborted" in said
    bare.does("rm", quick)
    bare.does("systemctl", "daemon-reload")


def test_a_daemon_whose_event_loop_is_blocked_is_started_again(bare: Box) -> None:
    """Though its threads and its process are well: it is the pipeline that has to get on."""
    program, block_now = "/opt/steplog/blocked.py", f"{HOME}/block-now"
    drop_in = f"/run/systemd/system/{UNIT}.d/blocked.conf"
    start = f"ExecStart=\nExecStart={PYTHON} {program} --config {CONFIG}"
    bare.writes(program, BLOCKED_LOOP)
    bare.does("chmod", "755", program)
    bare.writes(drop_in, f"[Service]\nWatchdogSec=4s\nEnvironment=BLOCK_NOW={block_now}\n{start}\n")
    bare.does("systemctl", "daemon-reload")
    bare.does("systemctl", "restart", UNIT)
    before = pid(bare)

    bare.does("touch", block_now)
    bare.waits('[ ! -e "/proc/$1" ]', before)
    bare.does("rm", block_now)  # or the next one would block, too
    is_served_anew(bare, before)

    said = bare.does("journalctl", "-u", UNIT).splitlines()
    assert any(f'"{program}"' in line and line.endswith(" in block") for line in said)
    bare.does("rm", drop_in, program)
    bare.does("systemctl", "daemon-reload")


def test_a_full_disk_costs_neither_task_nor_daemon(bare: Box) -> None:
    """Once there is room again, what was folded and what comes now are there."""
    bare.does("systemctl", "stop", UNIT)
    mount = "size=8m,mode=0711,uid=steplog,gid=steplog"
    bare.does("mount", "-t", "tmpfs", "-o", mount, "tmpfs", HOME)
    bare.does("systemctl", "start", UNIT)
    before = pid(bare)
    tracks(bare, "before", steps=20)
    drains(bare)

    filled = bare.runs("dd", "if=/dev/zero", f"of={HOME}/filler", "bs=4096")
    tracks(bare, "meanwhile", steps=20)
    bare.does("rm", f"{HOME}/filler")
    tracks(bare, "after", steps=20)
    drains(bare)

    assert "No space left" in filled.stderr
    assert [len(losses(bare, run_id)) for run_id in ("before", "after")] == [20, 20]
    assert pid(bare) == before
    bare.does("systemctl", "stop", UNIT)
    bare.does("umount", HOME)


def test_a_home_that_is_anothers_is_refused_and_stays_as_it_is(bare: Box) -> None:
    """As on a new disk that data was copied to: users' spools stay theirs; whose it is, is said."""
    tracks(bare, "owned")
    bare.does("systemctl", "stop", UNIT)
    bare.does("chown", "root:root", HOME)

    bare.runs("systemctl", "start", UNIT)
    status = bare.shows(UNIT, "ExecMainStatus")
    owners = [bare.does("stat", "-c", "%U", path) for path in (HOME, f"{HOME}/spool/owned.jsonl")]
    bare.does("chown", "steplog:steplog", HOME)
    bare.does("systemctl", "start", UNIT)
    drains(bare)

    assert status == "78"
    assert owners == ["root\n", "alice\n"]
    assert f"The home {HOME} belongs to the user with id 0" in bare.does("journalctl", "-u", UNIT)
    assert len(losses(bare, "owned")) == 10


def test_a_bad_configuration_is_not_tried_again(bare: Box) -> None:
    """It waits for a person, and says what is wrong."""
    bare.writes(CONFIG, "grace_second = 1\n")
    bare.runs("systemctl", "restart", UNIT)
    bare.waits(f"systemctl is-failed --quiet {UNIT}")
    installed = bare.runs(STEPLOGD, "install", "--system")

    assert bare.shows(UNIT, "ExecMainStatus") == "78"
    assert "did you mean 'grace_seconds'" in bare.does("journalctl", "-u", UNIT)
    assert installed.returncode == 78
    assert "did you mean 'grace_seconds'" in installed.stderr


def test_installing_again_disturbs_nobody(bare: Box) -> None:
    """Until there is something new, as after an upgrade."""
    before = pid(bare)
    bare.does(STEPLOGD, "install", "--system")
    same = pid(bare)
    # As a run leaves it that was interrupted once this was written.
    bare.does("touch", "-d", "2 seconds", f"/etc/systemd/system/{UNIT}")
    bare.does(STEPLOGD, "install", "--system")
    finished = pid(bare)
    bare.does("sed", "-i", "1s/steplog .*,/steplog 0.0.1,/", f"/etc/systemd/system/{UNIT}")
    bare.does(STEPLOGD, "install", "--system")

    assert same == before
    assert len({before, finished, pid(bare)}) == 3


def test_a_run_of_another_user_arrives_at_every_tracker(box: Box, said: str) -> None:
    """Over TCP with a token, in the embedded store, through W&B's child; read back, it is equal."""
    waits_for_tracker(box)
    configures(box, ALL_TRACKERS)
    tracks(box, "arrives", steps=100)
    drains(box)

    verified = as_daemon(box, STEPLOGD, "verify", "arrives", "--config", CONFIG)
    assert said
    assert len(losses(box, "arrives")) == 100
    assert all(name in verified for name in ("mlflow", "embedded", "wandb"))


def test_a_tracker_that_hangs_holds_up_no_stop(bare: Box) -> None:
    """What it still lacks comes with the next daemon."""
    bare.does("systemd-run", "--quiet", "--unit=hanging", PYTHON, "-c", HANGING)
    configures(bare, BARE + SERVER.replace(":5000", ":5001"))
    tracks(bare, "late", steps=50)
    bare.waits("journalctl -u hanging | grep -q connected")

    bare.does("systemctl", "stop", UNIT)
    result = bare.shows(UNIT, "Result")
    bare.does("systemctl", "stop", "hanging")
    configures(bare, BARE + SERVER)
    waits_for_tracker(bare)
    drains(bare)  # which ends when the server has it

    assert result == "success"


def test_a_reload_adds_a_tracker(bare: Box) -> None:
    """And sends what was tracked before, too; of a bad file it says why, and goes on as before."""
    before = pid(bare)
    tracks(bare, "reloaded", steps=20)
    bare.writes(CONFIG, BARE + SERVER)
    bare.does("systemctl", "reload", UNIT)
    waits_for_tracker(bare)
    drains(bare)
    verified = as_daemon(bare, STEPLOGD, "verify", "reloaded", "--config", CONFIG)

    bare.writes(CONFIG, "grace_second = 1\n")
    bare.does("systemctl", "reload", UNIT)
    bare.waits(f"systemctl show {UNIT} --property StatusText | grep -q grace_second")

    assert "mlflow" in verified
    assert pid(bare) == before
    assert "did you mean 'grace_seconds'" in bare.does("journalctl", "-u", UNIT)


def test_uninstalling_leaves_data_alone(bare: Box) -> None:
    """And can be done twice; the next installation takes all up."""
    tracks(bare, "kept")
    drains(bare)
    files, before = bare.does(*_FILES), pid(bare)

    bare.does(STEPLOGD, "uninstall", "--system", "--dry-run")
    after_dry_run = pid(bare)
    bare.does(STEPLOGD, "uninstall", "--system")
    again = bare.does(STEPLOGD, "uninstall", "--system")

    assert after_dry_run == before
    assert again == "nothing to do: it is not installed\n"
    assert bare.shows(UNIT, "LoadState") == "not-found"
    assert bare.does(*_FILES) == files
    left = bare.does("find", "/etc", "-name", "steplog*")
    assert set(left.split()) == {"/etc/steplog", CONFIG, "/etc/credstore/steplog.mlflow-token"}
    bare.does(STEPLOGD, "install", "--system")
    assert len(losses(bare, "kept")) == 10
