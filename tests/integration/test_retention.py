"""Spools of finished runs, compressed and removed by a real daemon: nothing lost, nothing twice."""

from __future__ import annotations

import fcntl
import gzip
import json
import signal
from typing import TYPE_CHECKING

import pytest

import steplog
from tests.archives import (
    COMPRESS,
    FILE,
    REMOVE,
    STEPS,
    archived,
    arrived,
    impatiently,
    log_of,
    lose_store,
    rounds,
    states,
    steps,
    tell,
)
from tests.conftest import wait_until
from tests.daemon import configure, document, rows
from tests.disks import MEBIBYTE, fill, mounted_or_skipped
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("impatient_paths")


def test_a_finished_run_is_compressed_and_its_run_log_stays(home: Path) -> None:
    """What lies in the archive is the spool, byte for byte; the journal names the run."""
    config = configure(home, COMPRESS)
    tell(home)
    spool = (home / "spool" / "r.jsonl").read_bytes()
    with impatiently(home, config):
        wait_until(lambda: states(home) == ["compressed"])
    (said,) = log_of(home, "spool compressed")

    assert list((home / "spool").iterdir()) == []
    assert gzip.decompress((home / "archive" / "r.1.jsonl.gz").read_bytes()) == spool
    assert steps(home) == list(range(STEPS + 1))
    assert (said["run"], said["action"], said["bytes_before"]) == ("r", "compress", len(spool))
    assert (home / "archive" / "r.1.jsonl.gz").stat().st_mode & 0o777 == 0o600


def test_a_finished_run_is_removed_and_its_run_log_stays(home: Path) -> None:
    """So does its document; a backend that is added later gets all of it."""
    config = configure(home, REMOVE)
    tell(home)
    with impatiently(home, config):
        wait_until(lambda: states(home) == ["removed"])
    with impatiently(home, configure(home, f"{REMOVE}{FILE}")):
        wait_until(lambda: arrived(home) == list(range(STEPS + 1)))

    assert [*archived(home), *(home / "spool").iterdir()] == []
    assert steps(home) == list(range(STEPS + 1))
    assert len(document(home, "r")["steps"]["train"]["user_defined_metrics"]["loss"]) == STEPS + 1


def test_a_policy_that_a_reload_brings_takes_effect(home: Path) -> None:
    """What had been kept is compressed; the log says what is another."""
    config = configure(home)
    tell(home)
    with impatiently(home, config) as process:
        wait_until(lambda: (home / "runs" / "r.json").exists())
        configure(home, COMPRESS)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: states(home) == ["compressed"])
    (said,) = log_of(home, "configuration taken over")

    assert said["settings"]["retention"]["action"] == "compress"
    assert steps(home) == list(range(STEPS + 1))


@pytest.mark.parametrize("table", [COMPRESS, REMOVE])
def test_a_run_that_is_joined_again_goes_on(home: Path, table: str) -> None:
    """In a new spool, which is archived in its turn; the run log has both."""
    config = configure(home, table)
    done = "compressed" if table == COMPRESS else "removed"
    tell(home)
    with impatiently(home, config):
        wait_until(lambda: states(home) == [done])
        tell(home, w="b", first=STEPS + 1)
        wait_until(lambda: states(home) == [done, done])

    assert steps(home) == list(range(2 * STEPS + 2))
    assert rows(home, "SELECT status, repeated, gaps, malformed FROM run") == [("SUCCESS", 0, 0, 0)]
    assert "read anew" not in (home.parent / "home.log").read_text()


def test_a_lost_store_is_folded_again_from_the_archive(home: Path) -> None:
    """In the order of the spools, and once; no tracker gets anything again."""
    config = configure(home, f"{COMPRESS}{FILE}reads = true\n")
    tell(home)
    with impatiently(home, config):
        wait_until(lambda: states(home) == ["compressed"])
        tell(home, w="b", first=STEPS + 1)
        wait_until(lambda: states(home) == ["compressed"] * 2)
    before = document(home, "r")
    lose_store(home)
    append(home, "r", Scribe("c").track(step=2 * STEPS + 2))
    with impatiently(home, config):
        wait_until(lambda: states(home) == ["compressed"] * 3)
        wait_until(lambda: len(arrived(home)) == 2 * STEPS + 3)

    assert steps(home) == list(range(2 * STEPS + 3))
    assert arrived(home) == list(range(2 * STEPS + 3))
    assert before["steps"]["train"]["attempts"] == document(home, "r")["steps"]["train"]["attempts"]


def test_a_line_that_comes_late_to_an_archived_spool_counts_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from an `echo >>` that had opened it when it was renamed; it rests for that."""
    monkeypatch.setenv("REST_SECONDS", "1")
    config = configure(home, COMPRESS)
    tell(home)
    with impatiently(home, config):
        wait_until(lambda: archived(home) == ["r.1.jsonl"])
        with (home / "archive" / "r.1.jsonl").open("ab") as late:
            late.write(b"\n" + line("track", step=STEPS + 1, values={"loss": 1.0}))
            late.flush()
            wait_until(lambda: len(steps(home)) == STEPS + 2)
            late.write(line("track", step=STEPS + 2, values={"loss": 1.0}))
        wait_until(lambda: states(home) == ["compressed"])
        assert steps(home) == list(range(STEPS + 3))
    lose_store(home)
    with impatiently(home, config):
        wait_until(lambda: len(steps(home)) == STEPS + 3)

    assert steps(home) == list(range(STEPS + 3))


def test_a_spool_that_a_shell_has_open_without_a_lock_stays(home: Path) -> None:
    """The kernel tells; what the shell writes later is in the run log, and then it is archived."""
    config = configure(home, f"idle_seconds = 0.1\n{COMPRESS}")
    append(home, "r", line("track", step=0, values={"loss": 1.0}))
    shell = (home / "spool" / "r.jsonl").open("ab", buffering=0)
    with shell, impatiently(home, config):
        wait_until(lambda: [(1,)] == rows(home, "SELECT 1 FROM run WHERE status = 'SUCCESS'"))
        append(home, "other", line("track", step=0, values={"loss": 1.0}))
        wait_until(lambda: states(home) == ["compressed"])
        wait_until(lambda: archived(home) == ["other.1.jsonl.gz"])  # r comes back at once
        shell.write(line("track", step=1, values={"loss": 1.0}))
        wait_until(lambda: steps(home) == [0, 1])
        shell.close()
        wait_until(lambda: archived(home) == ["other.1.jsonl.gz", "r.1.jsonl.gz"])

    assert steps(home) == [0, 1]


def test_a_backend_that_is_behind_keeps_the_spool(home: Path) -> None:
    """Until it has acknowledged all; a run that it has is archived meanwhile."""
    config = configure(home, COMPRESS)
    tell(home, "early")
    with impatiently(home, config):
        wait_until(lambda: states(home) == ["compressed"])
    hanging = configure(home, f"{COMPRESS}{FILE}hangs = true\n")
    tell(home)
    with impatiently(home, hanging):
        wait_until(lambda: (home / "runs" / "r.json").exists())
        seen = rounds(home)
        wait_until(lambda: rounds(home) > seen + 5)
        assert (home / "spool" / "r.jsonl").exists()
    with impatiently(home, configure(home, f"{COMPRESS}{FILE}")):
        wait_until(lambda: states(home) == ["compressed"] * 2)

    assert len(arrived(home)) == 2 * (STEPS + 1)


def large(home: Path, run_id: str) -> None:
    """Write the spool of a run that is over, and that takes a megabyte."""
    a = Scribe()
    texts = [a.line("track", step=step, values={"text": "x" * 250_000}) for step in range(4)]
    append(home, run_id, a.line("open"), a.line("join"), *texts, a.line("leave"))


def test_a_budget_takes_the_runs_that_ended_first_and_no_more(home: Path) -> None:
    """Long before their time."""
    names = ["first", "second", "third"]
    with impatiently(home, configure(home)):
        for name in names:
            large(home, name)
            wait_until((home / "runs" / f"{name}.json").exists)
    taken = sum(path.stat().st_blocks * 512 for path in home.rglob("*"))
    table = f'[retention]\naction = "remove"\nmax_bytes = {taken - 1_300_000}\n'
    with impatiently(home, configure(home, table)):
        wait_until(lambda: states(home) == ["removed"] * 2)
        seen = rounds(home)
        wait_until(lambda: rounds(home) > seen + 5)

    assert [path.stem for path in (home / "spool").iterdir()] == ["third"]
    assert log_of(home, "home is within max_bytes again") == []


def test_a_budget_that_cannot_be_met_is_said_once(home: Path) -> None:
    """When all has gone that may; then compressed ones go, too, where spools may be removed."""
    large(home, "r")
    with impatiently(home, configure(home, COMPRESS)):
        wait_until(lambda: states(home) == ["compressed"])
    with impatiently(home, configure(home, '[retention]\naction = "remove"\nmax_bytes = 1\n')):
        wait_until(lambda: states(home) == ["removed"])
        seen = rounds(home)
        wait_until(lambda: rounds(home) > seen + 5)
    said = [entry for entry in log_of(home, None) if "max_bytes" in entry["event"]]

    assert archived(home) == []
    assert [entry["level"] for entry in said] == ["warning"]


def test_nothing_is_compressed_on_a_disk_that_is_short(home: Path) -> None:
    """That is said once; the spool lies as it was until there is room, and then it is done."""
    disk = home.parent / "disk"
    with mounted_or_skipped(disk, "tmpfs", 16 * MEBIBYTE):
        place = disk / "home"
        tell(place)
        with impatiently(place, configure(place)):
            wait_until((place / "runs" / "r.json").exists)
        filler = fill(disk, 2 * MEBIBYTE)
        with impatiently(place, configure(place, f"min_free = {4 * MEBIBYTE}\n{COMPRESS}")):
            wait_until(lambda: archived(place) == ["r.1.jsonl"])
            seen = rounds(home)
            wait_until(lambda: rounds(home) > seen + 5)
            assert archived(place) == ["r.1.jsonl"]
            filler.unlink()
            wait_until(lambda: states(place) == ["compressed"])
            wait_until(lambda: len(log_of(place, "what could not be done is done")) == 1)
        (said,) = log_of(place, "spools cannot be archived, trying again")

        assert "min_free" in said["reason"]
        assert steps(place) == list(range(STEPS + 1))


def test_a_file_where_the_archive_should_be_is_said_once(home: Path) -> None:
    """Nothing stops for it, and no run is left alone for long: it is done once the file is gone."""
    tell(home)
    (home / "archive").touch()
    with impatiently(home, configure(home, COMPRESS)):
        wait_until(lambda: len(log_of(home, "spools cannot be archived, trying again")) == 1)
        seen = rounds(home)
        wait_until(lambda: rounds(home) > seen + 5)
        (home / "archive").unlink()
        wait_until(lambda: states(home) == ["compressed"])
    (said,) = log_of(home, "spools cannot be archived, trying again")

    assert str(home / "archive") in said["reason"]
    assert steps(home) == list(range(STEPS + 1))


def test_a_document_that_tells_more_than_a_new_store_is_kept(home: Path) -> None:
    """Of a run whose spool was removed, and that somebody joined again after the store was lost."""
    config = configure(home, REMOVE)
    tell(home)
    with impatiently(home, config):
        wait_until(lambda: states(home) == ["removed"])
    before = document(home, "r")
    lose_store(home)
    with impatiently(home, config):
        with steplog.start_run("r") as run:
            run.track_this(step=STEPS + 1, loss=1.0)
        wait_until(lambda: states(home) == ["removed"])
    (kept,) = (home / "runs").glob("r.before-*.json")

    assert json.loads(kept.read_text()) == before
    assert steps(home) == [STEPS + 1]


def test_a_run_that_somebody_is_in_stays(home: Path) -> None:
    """And so it does when it ended while a writer holds the lock: its lines are folded."""
    config = configure(home, COMPRESS)
    tell(home)
    with (home / "spool" / "r.jsonl").open("ab", buffering=0) as writer, impatiently(home, config):
        fcntl.flock(writer, fcntl.LOCK_SH)
        wait_until((home / "runs" / "r.json").exists)
        seen = rounds(home)
        wait_until(lambda: rounds(home) > seen + 5)
        assert archived(home) == []
        writer.write(b"\n" + line("track", step=STEPS + 1, values={"loss": 1.0}))
        wait_until(lambda: len(steps(home)) == STEPS + 2)
        writer.close()
        wait_until(lambda: states(home) == ["compressed"])

    assert steps(home) == list(range(STEPS + 2))


def test_spools_on_a_disk_of_their_own_stay_and_that_is_said_once(home: Path) -> None:
    """They cannot be renamed into the archive; everything else goes on."""
    config = configure(home, COMPRESS)
    with mounted_or_skipped(home / "spool", "tmpfs"):
        tell(home)
        tell(home, "other")
        with impatiently(home, config):
            wait_until(lambda: len(list((home / "runs").glob("*.json"))) == 2)
            seen = rounds(home)
            wait_until(lambda: rounds(home) > seen + 5)
            append(home, "r", b"\n", line("track", step=STEPS + 1, values={"loss": 1.0}))
            wait_until(lambda: len(steps(home)) == STEPS + 2)
        (said,) = log_of(home, "spools cannot be archived, trying again")

        assert "cross-device" in said["reason"]
        assert sorted(path.stem for path in (home / "spool").glob("[!.]*")) == ["other", "r"]
