"""The daemon on a disk that is short, full, read-only or out of files: it waits, and recovers."""

from __future__ import annotations

import contextlib
import resource
import signal
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.daemon import configure, rows, serving
from tests.disks import MEBIBYTE, fill, mounted_or_skipped
from tests.lines import Scribe, append

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

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

    def __init__(self, home: Path, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.disk = home.parent
        self.process = process
        self.scribe = Scribe()

    def track(self, count: int, run_id: str = "r") -> None:
        """Append so many observations of one value, as a visitor."""
        append(self.home, run_id, *[self.scribe.track() for _ in range(count)])

    def folded(self) -> int:
        """Return how many observations are in the run log."""
        ((count,),) = rows(self.home, "SELECT count(*) FROM observation") or [(0,)]
        return int(count)

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
def disk(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 16 MiB."""
    assert home.parent == tmp_path
    with mounted_or_skipped(tmp_path / "disk", request.param, 16 * MEBIBYTE) as mount:
        yield mount


@contextlib.contextmanager
def served(disk: Path, min_free: int) -> Iterator[Served]:
    """Serve a home on a disk, and see that the daemon lives to the end."""
    home = disk / "home"
    config = configure(home, f"min_free = {min_free}\n")
    with serving(home, "--config", config) as process:
        there = Served(home, process)
        there.track(10)
        wait_until(lambda: there.folded() == 10)
        yield there
        assert process.poll() is None
    assert process.returncode == 0


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
        assert there.said("disk is full") == 1


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
