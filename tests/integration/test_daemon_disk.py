"""The daemon on a disk that is short, full, read-only or out of files: it waits, and recovers."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.daemon import configure, rows, serving, steplogd
from tests.disks import MEBIBYTE, fill, mounted_or_skipped, use_up_files
from tests.lines import Scribe, append

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.zygote import Process

_MIN_FREE = 4 * MEBIBYTE
_SHORT = "spools are not folded, trying again"
_UNCOMMITTED = "run log cannot be committed, trying again"
_DONE = "what could not be done is done"


class Served:
    """A home on a disk of its own, and the daemon that serves it.

    Attributes:
        home: The home.
        disk: Where its disk is mounted.
        process: The daemon.
    """

    def __init__(self, home: Path, process: Process) -> None:
        self.home = home
        self.disk = home.parent
        self.process = process
        self.scribe = Scribe()

    def track(self, count: int, run_id: str = "r") -> None:
        """Append so many observations of one value, as a visitor."""
        append(self.home, run_id, *[self.scribe.track() for _ in range(count)])

    @contextlib.contextmanager
    def somebody(self, run_id: str = "r") -> Iterator[None]:
        """Be in a run for as long as the block lasts, and then vanish from it."""
        path = append(self.home, run_id)
        with path.open("ab") as spool:
            fcntl.flock(spool, fcntl.LOCK_SH)
            append(self.home, run_id, Scribe("b").line("join"))
            yield

    def folded(self) -> int:
        """Return how many observations are in the run log."""
        ((count,),) = rows(self.home, "SELECT count(*) FROM observation") or [(0,)]
        return int(count)

    def arrived(self) -> int:
        """Return how many observations the backend has got, each counted as often as it came."""
        path = self.home / "arrived.jsonl"
        return path.read_text().count('"at"') if path.exists() else 0

    def said(self, sentence: str) -> int:
        """Return how often the daemon's log has a sentence."""
        return (self.disk / "home.log").read_text().count(sentence)

    def stopped(self) -> contextlib.AbstractContextManager[None]:
        """Stop the daemon for as long as the block lasts."""

        @contextlib.contextmanager
        def stop() -> Iterator[None]:
            self.process.send_signal(signal.SIGSTOP)
            yield
            self.process.send_signal(signal.SIGCONT)

        return stop()


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(
    request: pytest.FixtureRequest, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Mount a disk of 16 MiB; a backend can be had that keeps what it gets in the home."""
    assert home.parent == tmp_path
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("third_party")))
    with mounted_or_skipped(tmp_path / "disk", request.param, 16 * MEBIBYTE) as mount:
        yield mount


@contextlib.contextmanager
def served(disk: Path, min_free: int) -> Iterator[Served]:
    """Serve a home on a disk, and see that the daemon lives to the end."""
    home = disk / "home"
    backend = '[[backend]]\ntype = "file"\n'
    config = configure(home, f"min_free = {min_free}\n{backend}")
    with serving(home, "--config", config) as process:
        there = Served(home, process)
        there.track(10)
        wait_until(lambda: there.folded() == 10)
        yield there
        assert process.poll() is None
    assert process.poll() == 0


def test_nothing_is_folded_into_the_last_of_the_disk(disk: Path) -> None:
    """The daemon waits, says so once, and goes on when there is room."""
    with served(disk, _MIN_FREE) as there:
        filler = fill(disk, _MIN_FREE - MEBIBYTE)
        there.track(10)
        wait_until(lambda: there.said(_SHORT) == 1)
        there.track(10, "other")
        with there.stopped():
            folded = there.folded()
        filler.unlink()
        wait_until(lambda: there.folded() == 30)
        wait_until(lambda: there.said(_DONE) == 1)

        assert folded == 10
        assert there.said(_SHORT) == 1
        assert there.said("(min_free), which are left to tasks: free some") == 1


def test_what_is_folded_is_sent_while_the_disk_is_short(disk: Path) -> None:
    """Cursors may go into what is left to tasks; a run ends, and its document comes later."""
    with served(disk, _MIN_FREE) as there:
        with there.somebody():  # or the run might end before the disk is full
            there.track(5000)
            wait_until(lambda: there.folded() == 5010)
            filler = fill(disk, _MIN_FREE - MEBIBYTE)
        wait_until(lambda: there.arrived() == 5010)
        wait_until(lambda: there.said('"run ended"') == 1)
        wait_until(lambda: there.said("document cannot be written, trying again") == 1)
        documents = list(there.home.glob("runs/*"))
        filler.unlink()
        wait_until((there.home / "runs" / "r.json").exists)

        assert documents == []
        assert rows(there.home, "SELECT position FROM cursor") == [(5010,)]


def test_daemon_lives_on_a_disk_without_a_byte(disk: Path) -> None:
    """What cannot be committed is said once, and committed when there is room."""
    with served(disk, 0) as there:
        with there.stopped():
            there.track(20_000)
            filler = fill(disk)
        wait_until(lambda: there.said(_UNCOMMITTED) == 1)
        folded = there.folded()
        filler.unlink()
        wait_until(lambda: there.folded() == 20_010)

        assert folded == 10
        assert there.said(_UNCOMMITTED) == 1


def test_daemon_without_descriptors_lives_and_goes_on(disk: Path) -> None:
    """What cannot be opened is tried again, and a run whose writer lives does not end by it."""
    with served(disk, 0) as there:
        pid = there.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        there.track(10)
        there.track(10, "other")
        wait_until(lambda: there.said("spools cannot be listed, trying again") == 1)
        folded = there.folded()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        wait_until(lambda: there.folded() == 30)

        assert folded == 10
        assert "PROCESSING" in str(rows(there.home, "SELECT status FROM run"))


def test_document_is_written_when_a_file_can_be_made(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an inode the run ends all the same, and the daemon lives."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("third_party")))
    size_bytes = 16 * MEBIBYTE
    with mounted_or_skipped(tmp_path / "disk", "ext4", size_bytes, "-N", "64") as disk:
        monkeypatch.setenv("STEPLOG_HOME", str(disk / home.name))
        with served(disk, 0) as there:
            with there.somebody():
                wait_until(lambda: there.arrived() == 10)
                made = use_up_files(disk)
            wait_until(lambda: there.said("document cannot be written, trying again") == 1)
        for path in made:
            path.unlink()
        done = steplogd("drain", "--config", str(disk / "home.toml"))

        assert (done.returncode, done.stderr) == (0, "")
        assert (there.home / "runs" / "r.json").exists()
