"""A home that several users share: nobody reads, forges or blocks another's run."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import textwrap
from typing import TYPE_CHECKING

import pytest

from steplog.home import spool_path
from tests.attacks import ATTACK, HOLD, ON_A_SPOOL, PLANTED, TRACK, plant
from tests.conftest import DEADLINE_SECONDS, run_program, wait_until
from tests.daemon import rows
from tests.people import ALICE, DAEMON, MALLORY, command_line, mode, open_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home() -> Iterator[Path]:
    """Give the daemon's user a home that is not there yet."""
    with open_home() as path:
        yield path


@pytest.fixture
def log(home: Path) -> Iterator[Path]:
    """Serve it as that user; the daemon's log."""
    path = home.parent.parent / "steplogd.log"
    with path.open("wb") as stderr:
        daemon = DAEMON.starts(home, *command_line(home, "run"), stderr=stderr.fileno())
    try:
        wait_until(lambda: b'"serving"' in path.read_bytes() or daemon.poll() is not None)
        yield path
        assert daemon.poll() is None, path.read_text()
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=DEADLINE_SECONDS)


def statuses(home: Path) -> dict[str, str]:
    return dict(rows(home, "SELECT run_id, status FROM run"))


def arrives(home: Path, run_id: str) -> None:
    """Wait until a run is folded and has ended."""
    wait_until(lambda: statuses(home).get(run_id) == "SUCCESS")


def test_home_is_open_for_spools_alone(home: Path, log: Path) -> None:
    """Whatever was open before: the way in, the folders to make files in, and nothing else."""
    ALICE.runs(home, TRACK, "r")
    arrives(home, "r")
    wait_until((home / "runs" / "r.json").exists)

    assert mode(home) == 0o711
    assert (mode(home / "spool"), mode(home / "catalog")) == (0o3733, 0o3733)
    others = [path for path in home.iterdir() if path.name not in ("spool", "catalog")]
    assert {path.name for path in others} >= {"steplog.db", "runs", "steplogd.lock"}
    assert [path.name for path in others if mode(path) & 0o077] == []
    spool = spool_path(home, "r").stat()
    assert (spool.st_uid, spool.st_gid, mode(spool_path(home, "r"))) == (
        ALICE.uid,
        DAEMON.uid,
        0o640,
    )


def test_home_that_was_there_is_brought_into_that_state(home: Path) -> None:
    """What lay open is closed, what users made stays as it is."""
    (home / "runs").mkdir(parents=True)
    (home / "mlflow.db").write_bytes(b"")
    (home / "spool").mkdir(mode=0o755)
    spool_path(home, "old").write_bytes(b'{"t":"track","values":{"x":1}}\n')
    for path in (home, *home.rglob("*")):
        os.chown(path, DAEMON.uid, DAEMON.uid)
    home.chmod(0o777)

    done = DAEMON.calls(home, *command_line(home, "drain"))

    assert (done.returncode, done.stderr) == (0, "")
    assert [mode(home / name) for name in ("", "spool", "runs", "mlflow.db")] == [
        0o711,
        0o3733,
        0o700,
        0o600,
    ]
    assert "old" in statuses(home)


def test_users_track_side_by_side(home: Path, log: Path) -> None:
    """An ordinary user needs no more than the home's name, with an id of his choice or without."""
    chosen = ALICE.runs(home, TRACK, "alices")
    made_up = MALLORY.runs(
        home, "import steplog; steplog.track_this(x=1); print(steplog.get_run_id())"
    )
    command = ALICE.steplog(home, "track", "--run-id", "alices", "acc=0.9")

    assert [one.stderr for one in (chosen, made_up, command)] == ["", "", ""]
    arrives(home, "alices")
    arrives(home, made_up.stdout.strip())
    wait_until(lambda: rows(home, "SELECT count(*) FROM observation") == [(3,)])


def test_no_other_user_can_touch_a_spool(home: Path, log: Path) -> None:
    """Read, append, truncate, remove, rename, link, lock: each is refused."""
    alice = ALICE.starts(home, "-c", textwrap.dedent(HOLD), "alices")
    assert alice.stdout is not None
    assert alice.stdout.readline() == "in\n"
    before = spool_path(home, "alices").read_bytes()
    attacked = MALLORY.runs(home, ATTACK, str(spool_path(home, "alices")))

    assert (attacked.stdout, attacked.stderr) == ("", "")
    assert spool_path(home, "alices").read_bytes() == before
    alice.communicate(timeout=DEADLINE_SECONDS)
    arrives(home, "alices")


def test_attacks_are_real(home: Path, log: Path) -> None:
    """On a spool of his own each of them succeeds: none fails by mistake."""
    MALLORY.runs(home, TRACK, "own")
    attacked = MALLORY.runs(home, ATTACK, str(spool_path(home, "own")))

    assert set(attacked.stdout.splitlines()) == ON_A_SPOOL


@pytest.fixture
def alices_file(home: Path) -> Path:
    """Give Alice a file that nothing must be written into; anybody may know where it is."""
    path = home.parent.parent / "thesis.txt"
    path.write_text("hers\n")
    os.chown(path, ALICE.uid, ALICE.uid)
    return path


@pytest.mark.parametrize("what", PLANTED)
def test_whoever_takes_an_id_first_blocks_nobody(
    home: Path, log: Path, alices_file: Path, what: str
) -> None:
    """The run of the other goes on under an id of his own, the same in all of his processes."""
    plant(home, what, spool_path(home, "r"), alices_file)
    program = ALICE.runs(home, TRACK, "r")
    command = ALICE.steplog(home, "track", "y=1", STEPLOG_RUN_ID="r")

    own = f"r-u{ALICE.uid}"
    assert program.stdout == f"{own}\n"
    assert len(program.stderr.splitlines()) == 1
    assert f"Run r is another user's in this home: what is tracked goes to run {own}." in (
        program.stderr
    )
    assert (command.returncode, command.stderr.count(own)) == (0, 1)
    assert alices_file.read_text() == "hers\n"
    arrives(home, own)
    wait_until(lambda: rows(home, "SELECT count(*) FROM observation") == [(2,)])


def test_even_both_ids_taken_block_nobody(home: Path, log: Path) -> None:
    """The third has a suffix that nobody can know before."""
    for run_id in ("r", f"r-u{ALICE.uid}"):
        plant(home, "pipe", spool_path(home, run_id))
    run_id = ALICE.runs(home, TRACK, "r").stdout.strip()

    assert run_id.startswith(f"r-u{ALICE.uid}-")
    arrives(home, run_id)


def test_strict_run_refuses_to_go_elsewhere(home: Path, log: Path) -> None:
    """Who wants no surprise gets an error that names both ids."""
    plant(home, "file", spool_path(home, "r"))
    code = """
        import steplog
        steplog.configure(strict=True)
        try:
            steplog.start_run("r")
        except steplog.TrackingError as error:
            print(error)
    """
    said = ALICE.runs(home, code).stdout

    assert "Run r is another user's" in said
    assert f"r-u{ALICE.uid}" in said


def test_children_find_the_run_that_was_taken(home: Path, log: Path) -> None:
    """By STEPLOG_RUN_ID, and none of them warns again."""
    plant(home, "link", spool_path(home, "r"))
    code = """
        import subprocess, sys, steplog
        steplog.start_run("r")
        steplog.track_this(a=1)
        child = "import steplog; steplog.track_this(b=2); print(steplog.get_run_id())"
        subprocess.run([sys.executable, "-P", "-c", child], check=True)
    """
    ran = ALICE.runs(home, code)

    assert ran.stdout == f"r-u{ALICE.uid}\n"
    assert ran.stderr.count("another user's") == 1


@pytest.mark.parametrize("what", ["link", "folder", "pipe"])
def test_log_of_a_command_goes_nowhere_else(
    home: Path, log: Path, alices_file: Path, what: str
) -> None:
    """A folder of the catalog that another user planted gets none of what a command prints."""
    plant(home, what, home / "catalog" / "r", alices_file.parent)
    ran = ALICE.steplog(home, "exec", "--run-id", "r", "--task", "t", "--", "echo", "secret")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "secret\n", "")
    kept = home / "catalog" / f"r-u{ALICE.uid}" / "t.execution.log"
    assert kept.read_text() == "secret\n"
    assert (mode(kept), mode(kept.parent)) == (0o600, 0o700)
    assert [path.name for path in alices_file.parent.glob("*.execution.log")] == []
    arrives(home, "r")
    ((entry,),) = rows(home, "SELECT entry FROM catalog") or [("",)]
    assert json.loads(entry)["catalog_relative_path"] == f"r-u{ALICE.uid}/t.execution.log"


def test_exec_goes_on_under_an_id_of_its_own(home: Path, log: Path) -> None:
    """And says which, once."""
    plant(home, "closed file", spool_path(home, "r"))
    ran = ALICE.steplog(home, "exec", "--run-id", "r", "--", "sh", "-c", "echo $STEPLOG_RUN_ID")

    assert (ran.returncode, ran.stdout) == (0, f"r-u{ALICE.uid}\n")
    arrives(home, f"r-u{ALICE.uid}")


def test_commands_that_read_say_one_sentence(home: Path, log: Path) -> None:
    """The store is the daemon's; a user's own spool is his, by the id that he asked for."""
    plant(home, "file", spool_path(home, "r"))
    ALICE.runs(home, TRACK, "r")
    DAEMON.runs(home, TRACK, "daemons")
    asked = [["ls"], ["show", "r"], ["tail", "--no-follow"], ["tail", "daemons", "--no-follow"]]
    said = [ALICE.steplog(home, *words) for words in asked]
    own = ALICE.steplog(home, "tail", "r", "--no-follow")

    assert [(one.returncode, one.stdout) for one in said] == [(1, "")] * 4
    assert [len(one.stderr.splitlines()) for one in said] == [1] * 4
    assert "name a run" in said[2].stderr
    assert "loss=0.5" in own.stdout
    assert f"this is run r-u{ALICE.uid}" in own.stderr


def test_tail_reads_no_link(home: Path, log: Path, alices_file: Path) -> None:
    """What another user planted leads nowhere, and is waited for by nobody."""
    plant(home, "link", spool_path(home, "linked"), alices_file)
    plant(home, "pipe", spool_path(home, "piped"))
    said = [ALICE.steplog(home, "tail", name, "--no-follow") for name in ("linked", "piped")]

    assert [(one.returncode, one.stdout) for one in said] == [(1, "")] * 2
    assert [len(one.stderr.splitlines()) for one in said] == [1] * 2


def test_daemon_follows_nothing_that_was_planted(home: Path, log: Path) -> None:
    """Links, pipes, devices, folders, sockets, names of any bytes: valid neighbours arrive."""
    secret = home.parent.parent / "daemons.txt"
    secret.write_text('{"t":"track","values":{"stolen":1}}\n')
    os.chown(secret, DAEMON.uid, DAEMON.uid)
    for number, what in enumerate(PLANTED):
        plant(home, what, spool_path(home, f"planted-{number}"), secret)
    os.mknod(spool_path(home, "device"), stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    code = """
        import os, sys
        folder = os.fsencode(sys.argv[1])
        for name in (b"new\\nline.jsonl", b"\\xff\\xfe.jsonl", b"\\x1b[31m.jsonl", b"..jsonl"):
            with open(folder + b"/" + name, "wb") as file:
                file.write(b'{"t":"track","values":{"x":1}}\\n')
        with open(folder + b"/sparse.jsonl", "wb") as file:
            file.truncate(1 << 36)
        with open(folder + b"/regrouped.jsonl", "wb") as file:
            file.write(b'{"t":"track","values":{"x":1}}\\n')
            os.fchown(file.fileno(), -1, os.getgid())
            os.fchmod(file.fileno(), 0o600)
    """
    assert MALLORY.runs(home, code, str(home / "spool")).stderr == ""
    ALICE.runs(home, TRACK, "alices")

    arrives(home, "alices")
    assert secret.read_text() == '{"t":"track","values":{"stolen":1}}\n'
    wait_until(lambda: b'"regrouped"' in log.read_bytes())
    assert rows(home, "SELECT count(*) FROM series WHERE key = 'stolen'") == [(0,)]
    assert log.read_bytes().count(b'"regrouped"') == 1


def test_locks_and_leases_of_a_user_concern_his_own_run(home: Path, log: Path) -> None:
    """Who holds an exclusive lock or a lease on his spool holds up neither daemon nor others."""
    code = """
        import fcntl, os, signal, sys
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        for name in ("locked", "leased"):
            fd = os.open(f"{sys.argv[1]}/{name}.jsonl", os.O_RDWR | os.O_CREAT, 0o640)
            os.write(fd, b'{"t":"track","values":{"x":1}}\\n')
            if name == "locked":
                fcntl.flock(fd, fcntl.LOCK_EX)
            else:
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        print("held", flush=True)
        sys.stdin.read()
    """
    mallory = MALLORY.starts(home, "-c", textwrap.dedent(code), str(home / "spool"))
    assert mallory.stdout is not None
    assert mallory.stdout.readline() == "held\n"
    ALICE.runs(home, TRACK, "alices")

    arrives(home, "alices")
    assert "locked" in statuses(home)
    mallory.communicate(timeout=DEADLINE_SECONDS)


def test_thousands_of_unreadable_spools_flood_nothing(home: Path, log: Path) -> None:
    """They cost some lines of the log, not one each, and the neighbours nothing."""
    code = """
        import os, sys
        for number in range(10_000):
            fd = os.open(f"{sys.argv[1]}/junk-{number}.jsonl", os.O_WRONLY | os.O_CREAT, 0o640)
            os.write(fd, b"x\\n")
            os.fchmod(fd, 0)
            os.close(fd)
    """
    before = len(log.read_bytes().splitlines())
    assert MALLORY.runs(home, code, str(home / "spool")).stderr == ""
    ALICE.runs(home, TRACK, "alices")

    arrives(home, "alices")
    wait_until(lambda: b"more spools are not as they should be" in log.read_bytes())
    assert len(log.read_bytes().splitlines()) - before < 500
    drained = DAEMON.calls(home, *command_line(home, "drain", "--timeout", "20"))
    assert len(drained.stderr.splitlines()) < 30
    assert DAEMON.calls(home, *command_line(home, "status")).returncode == 0


def test_spool_that_becomes_readable_arrives(home: Path, log: Path) -> None:
    """What its owner closed is not forgotten."""
    ALICE.steplog(home, "track", "--run-id", "r", "x=1")
    arrives_not = spool_path(home, "r")
    wait_until(lambda: "r" in statuses(home))
    arrives_not.chmod(0)
    with arrives_not.open("ab") as spool:
        spool.write(b'{"t":"track","values":{"y":2}}\n')
    wait_until(lambda: b"cannot be folded" in log.read_bytes())
    arrives_not.chmod(0o640)

    wait_until(lambda: rows(home, "SELECT count(*) FROM observation") == [(2,)])


def test_entry_that_nobody_may_look_at_costs_no_other(home: Path, log: Path) -> None:
    """A user can mount what the daemon may not even look at; here, a dead one."""
    spool = home / "spool" / "mounted.jsonl"
    ALICE.runs(home, TRACK, "before")
    spool.mkdir()
    os.chown(spool, MALLORY.uid, MALLORY.uid)
    code = f"""
        import ctypes, os
        fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={{fd}},rootmode=40000,user_id={MALLORY.uid},group_id={MALLORY.uid}"
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.mount(b"fuse", {str(spool)!r}.encode(), b"fuse", 0, options.encode())
        print(done)
    """
    if run_program(code).stdout != "0\n":
        spool.rmdir()
        pytest.skip("no file system can be mounted here")
    try:
        ALICE.runs(home, TRACK, "after")
        wait_until(lambda: {"before", "after"} <= statuses(home).keys())
        assert DAEMON.calls(home, *command_line(home, "status")).returncode == 0
    finally:
        subprocess.run(["umount", "--lazy", spool], check=True)
