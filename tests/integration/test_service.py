"""The service as a whole, in this process: what is emitted gets through, whatever else happens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread
from blockbuster import BlockingError

import steplog
from steplogd.config import ConfigError, load_config
from steplogd.delivery.contract import Unavailable
from steplogd.delivery.memory import Call, MemoryBackend, MemoryTracker
from steplogd.service import Service
from steplogd.store.cursors import Cursors
from steplogd.store.database import StoreUnusable
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import configure, document, rows, serving, steplogd
from tests.guard import RULES
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = RULES
MEMORY = '[[backend]]\ntype = "memory"\n'
TWO_MEMORIES = f'{MEMORY}[[backend]]\ntype = "memory"\nname = "other"\nstore = "other"\n'


def tracker(home: Path, store: str = "default") -> MemoryTracker:
    """Return what the memory backend of a home delivers to."""
    return MemoryBackend.tracker_of(home, store)


@contextlib.asynccontextmanager
async def started(home: Path, text: str = "") -> AsyncIterator[Service]:
    """Serve a home, with quick settings and these backends; no test may take for ever."""
    with anyio.fail_after(DEADLINE_SECONDS):
        config = await to_thread.run_sync(lambda: load_config(Path(configure(home, text))))
        async with Service(config).started() as service:
            yield service


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition that may be looked at in a thread."""
    await to_thread.run_sync(wait_until, is_so)


def arrived(home: Path, run_id: str = "r", store: str = "default") -> list[int]:
    """Return the positions that arrived of a run."""
    found = tracker(home, store).runs.get(run_id)
    return sorted(found.observations) if found else []


async def drain(home: Path, text: str = MEMORY) -> None:
    """Serve until all is folded and delivered."""
    async with started(home, text) as service:
        await service.drained()


@pytest.fixture
def hanging() -> Iterator[Callable[[Call], None]]:
    """Give a fault that hangs until the test has ended."""
    go_on = threading.Event()

    def hang(_: Call) -> None:
        go_on.wait(DEADLINE_SECONDS)

    yield hang
    go_on.set()


async def test_what_a_task_emits_becomes_visible(home: Path) -> None:
    """In the run log, and at the backend."""
    async with started(home, MEMORY):
        with steplog.start_run("r") as run:
            run.track_this(loss=0.5)
            await until(lambda: rows(home, "SELECT value FROM observation") == [(0.5,)])
            await until(lambda: arrived(home) == [1])


async def test_what_is_appended_while_it_serves_is_folded(home: Path) -> None:
    """As often as it comes, into old runs and new ones."""
    a = Scribe()
    async with started(home):
        for count in (1, 2, 3):
            append(home, "r", a.track())
            append(home, f"new{count}", line("track", values={"x": 1}))
            total = 2 * count
            await until(lambda n=total: rows(home, "SELECT sum(position) FROM run") == [(n,)])  # type: ignore[misc]


async def test_a_run_that_all_left_gets_its_document(home: Path) -> None:
    """And another one when somebody joined it again."""
    async with started(home):
        for loss in (0.5, 0.25):
            with steplog.start_run("r") as run:
                run.track_this(loss=loss)
            await until(lambda v=loss: metrics(home) == {"loss": v})  # type: ignore[misc]


async def test_a_line_after_the_end_of_a_run_gets_into_its_document(home: Path) -> None:
    """A visitor's, which opens nothing."""
    a = Scribe()
    append(home, "r", a.line("join"), a.line("leave"))
    async with started(home):
        await until((home / "runs" / "r.json").exists)
        append(home, "r", line("track", values={"late": 1}))

        await until(lambda: metrics(home) == {"late": 1})


async def test_a_document_that_could_not_be_written_is_written_later(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no other run ends."""
    monkeypatch.setattr("steplogd.document_stage._RETRY_SECONDS", 0.05)
    a = Scribe()
    append(home, "r", a.line("join"), a.line("leave"))
    (home / "runs" / "r.json").mkdir(parents=True)
    async with started(home) as service:
        await until(lambda: bool(service._documents.unwritten))

        (home / "runs" / "r.json").rmdir()
        await until((home / "runs" / "r.json").is_file)


async def test_a_folder_that_was_deleted_and_made_again_is_followed(home: Path) -> None:
    """By the watch, or else by the sweep."""
    async with started(home):
        shutil.rmtree(home / "spool")
        append(home, "r", line("track", values={"x": 1}))

        await until(lambda: rows(home, "SELECT position FROM run") == [(1,)])


async def test_a_kernel_without_notifications_is_done_without(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By looking often."""

    def refuse(*_: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("steplogd.follow.watch", refuse)
    async with started(home):
        append(home, "r", line("track", values={"x": 1}))

        await until(lambda: rows(home, "SELECT position FROM run") == [(1,)])


def metrics(home: Path, run_id: str = "r") -> Any:
    """Return what a run's document says of its only task; None without a document."""
    try:
        steps = document(home, run_id)["steps"]
    except FileNotFoundError:
        return None
    return next((step["user_defined_metrics"] for step in steps.values()), None)


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


async def test_500_spools_of_1000_points_arrive_once_each(home: Path) -> None:
    """In one drain."""
    for number in range(500):
        w = f"{number}"
        lines = [
            b'{"t":"track","w":"%s","n":%d,"ts":1,"step":%d,"values":{"x":%d}}\n'
            % (w.encode(), step, step, step)
            for step in range(1000)
        ]
        append(home, f"r{number}", *lines)

    await drain(home)

    assert rows(home, "SELECT count(*), sum(position) FROM run") == [(500, 500_000)]
    assert rows(home, "SELECT count(*) FROM observation") == [(500_000,)]
    runs = tracker(home).runs.values()
    assert {run.received for run in runs} == {1000}
    assert {tuple(seen.value for seen in run.observations.values()) for run in runs} == {
        tuple(range(1000))
    }


async def test_a_drain_ends_beside_a_run_that_goes_on(home: Path) -> None:
    """What comes meanwhile is not waited for."""
    a = Scribe()

    def go_on(call: Call) -> None:
        if call.method == "send":  # for each batch that arrives, the task writes as much again
            append(home, "r", *[a.track() for _ in call.batch])

    append(home, "r", *[a.track() for _ in range(100)])
    tracker(home).fault = go_on

    await drain(home)

    assert list(range(1, 101)) == arrived(home)[:100]


async def test_a_short_run_does_not_wait_for_a_long_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the long one would fill every pass by itself."""
    monkeypatch.setattr("steplogd.line.PASS_BYTES", 1)
    folded_of_long: list[int] = []

    def look(call: Call) -> None:
        if call.method == "open" and call.run.run_id == "short":
            folded_of_long.extend(rows(home, "SELECT position FROM run WHERE run_id = 'long'")[0])

    tracker(home).fault = look
    tracks = [b'{"t":"track","w":"a","n":%d,"values":{"x":1}}\n' % n for n in range(200_000)]
    append(home, "long", *tracks)
    append(home, "short", line("track", values={"x": 1}))

    await drain(home)

    assert len(arrived(home, "long")) == 200_000
    assert folded_of_long[0] < 150_000


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
    monkeypatch.setattr("steplogd.follow._RETRY_SECONDS", 0.01)
    monkeypatch.setattr("steplogd.delivery.exporter.delay_seconds", lambda *_: 0.01)
    failures: list[str] = []
    monkeypatch.setattr(
        "steplogd.follow._log.error", lambda text, **_: failures.append(text), raising=False
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


async def test_a_call_that_blocks_the_loop_fails_the_test(home: Path) -> None:
    """Here, the service is made to look into the store without a thread."""
    async with started(home) as service:
        with pytest.raises(BlockingError):
            service._line.spools.sizes()


async def test_a_thread_may_block(home: Path) -> None:
    """That is what it is for."""
    async with started(home) as service:
        assert await to_thread.run_sync(service._line.spools.sizes) == {}


async def test_the_store_is_never_used_in_the_loop(home: Path) -> None:
    """Nor are its cursors."""
    async with started(home) as service:
        with pytest.raises(BlockingError):
            Cursors(service._database).behind("x")  # type: ignore[arg-type]


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


def test_the_log_is_one_json_object_a_line(home: Path) -> None:
    """Where it goes to no terminal; no line for an event."""
    a = Scribe()
    append(home, "r", a.line("join"), *[a.track() for _ in range(100)], a.line("leave"))
    with serving(home, "--config", configure(home)):
        wait_until((home / "runs" / "r.json").exists)

    lines = (home.parent / f"{home.name}.log").read_text().splitlines()
    events = [json.loads(told)["event"] for told in lines]
    assert events == ["serving", "run begun", "run ended", "stopped"]


def test_a_drain_gives_up_when_its_time_is_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 75, and one sentence on who is behind."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "third_party"))
    append(home, "r", Scribe().track())
    config = configure(home, '[[backend]]\ntype = "file"\nhangs = true\n')

    told = steplogd("drain", "--timeout", "0.5", "--config", config)

    assert told.returncode == 75
    assert "file is still behind by 1 observation of 1 run" in told.stderr


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
