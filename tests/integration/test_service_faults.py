"""The service as a whole while something fails: a backend, the disk, the store, a start."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from steplogd.config import ConfigError
from steplogd.delivery.contract import Unavailable
from steplogd.delivery.memory import Call, MemoryBackend
from steplogd.store.database import StoreUnusable
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import configure, rows, serving
from tests.guard import RULES
from tests.lines import Scribe, append, line
from tests.served import MEMORY, TWO_MEMORIES, arrived, drain, started, tracker, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = RULES


async def test_a_store_that_was_deleted_ends_the_service(home: Path) -> None:
    """With one error that says so: the next one folds all again, and sends what is new alone."""
    append(home, "r", Scribe().track())
    with pytest.raises(StoreUnusable, match="deleted or replaced"):  # noqa: PT012
        async with started(home, MEMORY):
            await until(lambda: arrived(home) == [1])
            lose_store(home)
            append(home, "r", line("track", values={"x": 1}))
            await anyio.sleep_forever()

    await drain(home)

    assert arrived(home) == [1, 2]
    assert tracker(home).runs["r"].received == 2


async def test_a_start_that_fails_half_way_leaves_nothing_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened is closed."""

    def fail(*_: object) -> None:
        raise ValueError("no token")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryBackend, "__init__", fail)
        with pytest.raises(ConfigError, match="'memory' cannot be built: no token"):
            await drain(home)

    is_closed = not (home / "steplog.db-wal").exists()
    await drain(home)

    assert is_closed


def lose_store(home: Path) -> None:
    """Delete it while it is in use."""
    for path in home.glob("steplog.db*"):
        path.unlink()


def fill(path: Path) -> None:
    """Leave no room on a disk."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (4096, 1):
            while file.write(b"x" * size):
                pass


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False
    )
    if mounted.returncode:
        pytest.skip("this root may not mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_signal_ends_the_process_in_time_even_while_a_backend_hangs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third party's call never returns; the process does not wait for it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "third_party"))
    append(home, "r", Scribe().track())
    config = configure(home, '[[backend]]\ntype = "file"\nhangs = true\n')

    with serving(home, "--config", config) as process:
        wait_until(lambda: rows(home, "SELECT position FROM run") == [(1,)])
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status = process.wait(DEADLINE_SECONDS)

    assert status == 0
    assert time.monotonic() - began < 6


async def test_a_backend_that_hangs_holds_up_no_other(
    home: Path, hanging: Callable[[Call], None]
) -> None:
    """And no stop: that is bounded."""
    tracker(home).fault = hanging
    append(home, "r", Scribe().track())
    async with started(home, TWO_MEMORIES):
        await until(lambda: arrived(home, store="other") == [1])
        began = anyio.current_time()

    assert anyio.current_time() - began < 5
    assert arrived(home) == []


async def test_a_backend_that_is_away_for_a_while_gets_it_all(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the run log."""
    monkeypatch.setattr("steplogd.delivery.exporter.delay_seconds", lambda *_: 0.001)
    calls: list[str] = []

    def away(call: Call) -> None:
        calls.append(call.method)
        if len(calls) < 20:
            raise Unavailable("away")

    tracker(home).fault = away
    a = Scribe()
    append(home, "r", *[a.track() for _ in range(2500)])

    await drain(home)

    assert list(tracker(home).runs["r"].observations) == list(range(1, 2501))
    assert len(calls) >= 20


async def test_a_backend_that_fails_to_close_is_no_failure_of_ours(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are closed, and the store."""

    def fail(_: MemoryBackend) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(MemoryBackend, "close", fail)
    append(home, "r", Scribe().track())

    await drain(home, TWO_MEMORIES)

    assert arrived(home) == arrived(home, store="other") == [1]


async def test_a_store_that_is_locked_for_a_while_is_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another process, say; it goes on by itself."""
    monkeypatch.setattr("steplogd.store.database._BUSY_SECONDS", 0.01)
    monkeypatch.setattr("steplogd.folding.follow._RETRY_SECONDS", 0.01)
    monkeypatch.setattr("steplogd.delivery.exporter.delay_seconds", lambda *_: 0.01)
    failures: list[str] = []
    monkeypatch.setattr(
        "steplogd.troubles._log.error", lambda text, **_: failures.append(text), raising=False
    )
    a = Scribe()
    append(home, "r", a.line("join"), a.track(), a.line("leave"))
    async with started(home, MEMORY):
        await until((home / "runs" / "r.json").exists)
        other = sqlite3.connect(home / "steplog.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        append(home, "r", a.line("join"), a.track())
        await until(lambda: bool(failures))
        other.execute("ROLLBACK")
        other.close()

        await until(lambda: arrived(home) == [1, 2])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
async def test_a_full_disk_is_waited_for(home: Path, full_disk: Path) -> None:
    """Nothing is lost, and it goes on when there is room."""
    a = Scribe()
    append(home, "r", a.track())
    (home / "steplog.db").symlink_to(full_disk / "steplog.db")
    async with started(home, MEMORY):
        await until(lambda: arrived(home) == [1])
        filler = full_disk / "filler"
        await to_thread.run_sync(fill, filler)
        append(home, "r", *[a.track(text="x" * 1000) for _ in range(200)])
        await until(lambda: (home / "spool" / "r.jsonl").stat().st_size > 200_000)

        filler.unlink()
        await until(lambda: len(arrived(home)) == 201)


@pytest.fixture
def hanging() -> Iterator[Callable[[Call], None]]:
    """Give a fault that hangs until the test has ended."""
    go_on = threading.Event()

    def hang(_: Call) -> None:
        go_on.wait(DEADLINE_SECONDS)

    yield hang
    go_on.set()


async def test_what_was_in_flight_at_a_stop_is_delivered_by_the_next(
    home: Path, hanging: Callable[[Call], None]
) -> None:
    """Nothing of it had been acknowledged."""
    tracker(home).fault = hanging
    append(home, "r", Scribe().track())
    async with started(home, MEMORY):
        await until(lambda: rows(home, "SELECT position FROM run") == [(1,)])
    tracker(home).fault = None

    await drain(home)

    assert arrived(home) == [1]


async def test_a_service_that_is_cancelled_closes_all(
    home: Path, hanging: Callable[[Call], None]
) -> None:
    """Also while a backend hangs; nothing is waited for then."""
    tracker(home).fault = hanging
    append(home, "r", Scribe().track())
    with anyio.move_on_after(0.5) as scope:
        async with started(home, MEMORY) as service:
            await service.drained()

    assert scope.cancelled_caught
    assert not (home / "steplog.db-wal").exists()
