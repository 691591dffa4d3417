"""A daemon over a home in which somebody plants whatever he can think of; neighbours arrive."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import STEPLOG
from tests.conftest import wait_until
from tests.daemon import configure, document, rows, serving, steplogd
from tests.lines import Scribe, append, line
from tests.touches import Touches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.zygote import Process

JUNK_FILES = 10_000
ENDLESS_BYTES = 1 << 30
ALLOWED_GROWTH_KB = 40 * 1024


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Make a folder that nobody has any business in, with files that look like ours."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("secret", "r.jsonl", "linked.jsonl", "steplog.db"):
        (folder / name).write_bytes(line("track", values={"secret": 1}))
    return folder


@pytest.fixture
def touches(outside: Path) -> Iterator[Touches]:
    """Notice who touches it."""
    noticed = Touches(outside)
    (outside / "secret").read_bytes()
    assert noticed.names() == {"secret"}
    yield noticed
    noticed.close()


def value_of(home: Path, run_id: str) -> list[Any]:
    """Return the values that are in the run log of a run."""
    sql = f"SELECT value FROM observation JOIN run USING (run_no) WHERE run_id = '{run_id}'"
    return [value for (value,) in rows(home, f"{sql} ORDER BY observation.position")]


def arrives(home: Path, run_id: str) -> None:
    """Append to a spool, and wait for it to be in the run log."""
    append(home, run_id, line("track", values={"x": 1}))
    wait_until(lambda: value_of(home, run_id)[-1:] == [1])


def peak_kb(daemon: Process) -> int:
    """Return the most memory that a process ever had resident."""
    status = Path(f"/proc/{daemon.pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def log_lines(home: Path) -> list[dict[str, Any]]:
    """Return what the daemon has logged."""
    text = (home.parent / f"{home.name}.log").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def plant_everything(folder: Path, outside: Path) -> None:
    """Make all that a name in a folder can stand for but a regular file."""
    (folder / "dir.jsonl").mkdir()
    (folder / "dir.jsonl" / "r.jsonl").write_bytes(line("track", values={"x": 1}))
    os.mkfifo(folder / "fifo.jsonl")
    (folder / "shadow.jsonl").symlink_to("/etc/shadow")
    (folder / "loop.jsonl").symlink_to("loop.jsonl")
    (folder / "zero.jsonl").symlink_to("/dev/zero")
    (folder / "linked.jsonl").symlink_to(outside / "linked.jsonl")
    (folder / "far").symlink_to(outside)
    here = Path.cwd()
    os.chdir(folder)  # a socket's address is no longer than 108 bytes
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.jsonl")
    os.chdir(here)
    if os.geteuid() == 0:
        os.mknod(folder / "null.jsonl", 0o020666, os.makedev(1, 3))
        os.mknod(folder / "zeros.jsonl", 0o020666, os.makedev(1, 5))
    for name in (b"new\nline.jsonl", b"\xff\xfe.jsonl", b"\x1b[31m.jsonl", b".jsonl", b"-n.jsonl "):
        with open(os.path.join(bytes(folder), name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(line("track", values={"x": 1}))


def test_what_is_planted_costs_no_neighbour_and_leads_nowhere(
    home: Path, outside: Path, touches: Touches
) -> None:
    """Among ten thousand other files; commands that look at the folder are not led either."""
    folder = home / "spool"
    append(home, "before", line("track", values={"x": 1}))
    plant_everything(folder, outside)
    with serving(home, "--config", configure(home)) as daemon:
        wait_until(lambda: value_of(home, "before") == [1])
        (folder / "late.jsonl").symlink_to(outside / "secret")
        for number in range(JUNK_FILES):
            (folder / f"junk {number}").touch()
        arrives(home, "after")
        (folder / "after.jsonl").unlink()
        (folder / "after.jsonl").symlink_to(outside / "r.jsonl")
        arrives(home, "last")
        status = json.loads(steplogd("status", "--json").stdout)
        listed = run_steplog("ls", "--json")
        tailed = run_steplog("tail", "--no-follow", "--raw")
        refused = run_steplog("tail", "linked", "--no-follow")
        assert daemon.poll() is None

    assert touches.names() == set()
    assert sum(status["runs"].values()) == 3
    assert {run["run_id"] for run in json.loads(listed)} == {"before", "after", "last"}
    assert tailed == line("track", values={"x": 1})
    assert refused == b""
    assert value_of(home, "after") == [1]


def run_steplog(*arguments: str) -> bytes:
    """Return what a command prints."""
    return subprocess.run([*STEPLOG, *arguments], capture_output=True, check=False).stdout


def test_a_line_without_end_takes_no_memory(home: Path) -> None:
    """A gigabyte without an LF; a neighbour and a valid line behind it arrive."""
    append(home, "first", line("track", values={"x": 1}))
    with serving(home, "--config", configure(home)) as daemon:
        wait_until(lambda: value_of(home, "first") == [1])
        before = peak_kb(daemon)
        endless = append(home, "endless", b"x")
        os.truncate(endless, ENDLESS_BYTES)
        append(home, "endless", line("track", values={"x": 5}))
        arrives(home, "neighbour")
        wait_until(lambda: value_of(home, "endless") == [5])
        grown = peak_kb(daemon) - before

    assert grown < ALLOWED_GROWTH_KB
    ((kept, size),) = rows(home, "SELECT count(*), max(length(excerpt)) FROM set_aside")
    assert (kept, size) <= (1_000, 4_096)


def test_a_folder_that_becomes_a_link_is_not_followed(
    home: Path, outside: Path, touches: Touches
) -> None:
    """It is said once; when the folder is back, all arrives."""
    a = Scribe()
    append(home, "r", a.line("join"), a.track(loss=0.5))
    folder, away = home / "spool", home / "away"
    with serving(home, "--config", configure(home)):
        wait_until(lambda: value_of(home, "r") == [0.5])
        folder.rename(away)
        folder.symlink_to(outside)
        wait_until(lambda: any("cannot be listed" in told["event"] for told in log_lines(home)))
        with (away / "r.jsonl").open("ab") as spool:
            spool.write(a.track(loss=0.25))
        folder.unlink()
        away.rename(folder)
        wait_until(lambda: value_of(home, "r") == [0.5, 0.25])
        arrives(home, "last")

    (said,) = [told for told in log_lines(home) if "cannot be listed" in told["event"]]
    assert "a link, which is not followed" in said["reason"]
    assert touches.names() == set()


def test_spools_that_are_replaced_while_it_serves_arrive_whole(home: Path) -> None:
    """Truncated and written anew, or exchanged for another file; said in the log, and by status."""
    with serving(home, "--config", configure(home)):
        for run_id in ("truncated", "exchanged", "deleted"):
            append(home, run_id, Scribe().track(loss=1.0), Scribe("b").track(loss=2.0))
            wait_until(lambda run=run_id: len(value_of(home, run)) == 2)  # type: ignore[misc]
        os.truncate(home / "spool" / "truncated.jsonl", 0)
        append(home, "truncated", Scribe("c").track(loss=3.0))
        other = append(home, "other", *[Scribe(f"{n}").track(loss=3.0) for n in range(9)])
        other.replace(home / "spool" / "exchanged.jsonl")
        (home / "spool" / "deleted.jsonl").unlink()
        append(home, "deleted", Scribe("c").track(loss=3.0))
        wait_until(lambda: value_of(home, "truncated") == [1.0, 2.0, 3.0])
        wait_until(lambda: value_of(home, "exchanged") == [1.0, 2.0] + 9 * [3.0])
        wait_until(lambda: value_of(home, "deleted") == [1.0, 2.0, 3.0])
        status = json.loads(steplogd("status", "--json").stdout)

    said = [told["run"] for told in log_lines(home) if told["event"] == "spool is read anew"]
    assert sorted(said) == sorted(status["read_anew"]) == ["deleted", "exchanged", "truncated"]


def test_a_run_whose_spool_became_a_folder_ends(home: Path) -> None:
    """What it had is in its document."""
    a = Scribe()
    path = append(home, "r", a.line("join"), a.track(loss=0.5))
    with serving(home, "--config", configure(home, "idle_seconds = 0.5\n")):
        wait_until(lambda: value_of(home, "r") == [0.5])
        path.unlink()
        path.mkdir()
        wait_until((home / "runs" / "r.json").exists)

    assert document(home, "r")["status"] == "FAIL"


def test_sweeps_find_what_no_notification_tells_of_on_a_network_file_system(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second, whatever is configured, and it is warned of once."""
    table = home.parent / "table"
    table.write_bytes(b"1 0 0:1 / / rw - nfs4 filer:/export rw\n")
    monkeypatch.setenv("STEPLOG_HOME", str(home))
    program = (
        "import anyio, sys; from pathlib import Path\n"
        "from steplogd import mounts; from steplogd.folding import follow\n"
        f"mounts._TABLE = Path({str(table)!r})\n"
        "async def silent(folder, stop, *_):\n"
        "    await stop.wait()\n"
        "    return\n"
        "    yield\n"
        "follow.watch = silent\n"
        "from steplogd.__main__ import main; main(['run', *sys.argv[1:]])"
    )
    config = Path(configure(home))
    config.write_text(config.read_text().replace("sweep_seconds = 0.5", "sweep_seconds = 3600"))
    with serving(home, "--config", str(config), program=program):
        arrives(home, "r")
        arrives(home, "s")

    (said,) = [told for told in log_lines(home) if "network file system" in told["event"]]
    assert "nfs4 at /" in said["reason"]
