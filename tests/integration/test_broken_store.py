"""A store that is broken, gone or locked: set aside, folded again, and nothing is sent again."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from steplogd.config import load_config
from steplogd.delivery.memory import MemoryBackend, MemoryRun
from steplogd.holder import hold
from steplogd.service import Service
from steplogd.serving import serve
from steplogd.store.breakage import set_aside
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import configure, document, rows, steplogd
from tests.guard import RULES
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = RULES
MEMORY = '[[backend]]\ntype = "memory"\n'
PAGE = 4096
STEPS = 400


def store(home: Path) -> Path:
    """Return where the store lies."""
    return home / "steplog.db"


def tell(home: Path) -> list[Any]:
    """Write two spools: of a run that is over, and of lines that say neither who nor when."""
    a = Scribe("a")
    losses = [step // 3 / 7 for step in range(STEPS)]
    begin = [a.line("open"), a.line("join", tag="t")]
    tracks = [a.track(step=step // 2, loss=loss, acc=1.0) for step, loss in enumerate(losses)]
    append(home, "r", *begin, *tracks, a.line("leave"))
    append(home, "bare", *[line("track", values={"x": x}) for x in (0.5, 0.5, 0.25, 0.5)])
    seen = [(step // 2, value) for step, loss in enumerate(losses) for value in (loss, 1.0)]
    return [*seen, *((0, x) for x in (0.5, 0.5, 0.25, 0.5))]


def logged(home: Path) -> list[Any]:
    """Return what is in the run logs."""
    runs = "(SELECT run_no FROM run WHERE run_id = 'bare')"
    return rows(
        home, f"SELECT step, value FROM observation ORDER BY run_no IN {runs}, run_no, position"
    )


def arrived(home: Path, run_id: str) -> MemoryRun:
    """Return what the memory backend has of a run."""
    return MemoryBackend.tracker_of(home).runs[run_id]


def times_sent(home: Path) -> dict[str, tuple[int, int]]:
    """Return how many observations the backend holds of each run, and how many came."""
    runs = MemoryBackend.tracker_of(home).runs
    return {run_id: (len(run.observations), run.received) for run_id, run in runs.items()}


def broken(home: Path) -> list[str]:
    """Return the names of what was set aside, without their times."""
    names = sorted(path.name for path in home.glob("steplog.db.broken-*"))
    return [name[:18] + name[34:] for name in names]


async def drain(home: Path, text: str = MEMORY) -> None:
    """Serve until all is folded and delivered."""
    config = await to_thread.run_sync(lambda: load_config(Path(configure(home, text))))
    with anyio.fail_after(DEADLINE_SECONDS):
        await serve(config, Service.drained)


@contextlib.asynccontextmanager
async def served(home: Path, text: str = MEMORY) -> AsyncIterator[None]:
    """Serve as `steplogd run` does."""
    config = await to_thread.run_sync(lambda: load_config(Path(configure(home, text))))
    stop = anyio.Event()
    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, config, lambda _: stop.wait(), stop)
            yield
            stop.set()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition that may be looked at in a thread."""
    await to_thread.run_sync(wait_until, is_so)


def overwrite(path: Path, offset: int, content: bytes) -> None:
    """Write into the middle of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def spoil_every_page(path: Path) -> None:
    """Leave the header as it is, and nothing else."""
    overwrite(path, PAGE, b"\xa5" * (path.stat().st_size - PAGE))


def spoil_observations(path: Path) -> None:
    """Overwrite a page in the middle, one that holds observations."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'observation'"
        (page,) = connection.execute(sql).fetchone()
    overwrite(path, (page - 1) * PAGE, b"\xa5" * PAGE)


def cut(size: int) -> Callable[[Path], None]:
    """Return a damage: the file is truncated; negative: to a part of it."""

    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(size if size >= 0 else path.stat().st_size // -size)

    return damage


def set_version(version: int) -> Callable[[Path], None]:
    """Return a damage: another version has written it."""

    def damage(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")

    return damage


def make_folder(path: Path) -> None:
    """Put a folder in its place, with something in it."""
    path.unlink()
    path.mkdir()
    (path / "mine").touch()


def replace(path: Path) -> None:
    """Put another file in its place."""
    path.unlink()
    path.write_bytes(b"mine" * 5000)


def write_text(path: Path) -> None:
    """Write what is no database at all."""
    path.write_text("not a database at all\n" * 999)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "header": lambda path: overwrite(path, 0, b"\xa5" * 100),
    "page size": lambda path: overwrite(path, 16, b"\x00\x03"),
    "schema": lambda path: overwrite(path, 100, b"\xa5" * (PAGE - 100)),
    "every page": spoil_every_page,
    "observations": spoil_observations,
    "zeros": lambda path: overwrite(path, 0, b"\0" * path.stat().st_size),
    "1 byte": cut(1),
    "99 bytes": cut(99),
    "one page": cut(PAGE),
    "a page and a half": cut(PAGE * 3 // 2),
    "half": cut(-2),
    "folder": make_folder,
    "newer": set_version(99),
    "older": set_version(2),
    "other program": write_text,
}


@pytest.mark.parametrize("kind", DAMAGES)
async def test_a_broken_store_is_set_aside_and_folded_again(home: Path, kind: str) -> None:
    """The run log is whole again, and the tracker gets what is new, and that alone."""
    expected = tell(home)
    await drain(home)
    sent = times_sent(home)
    await to_thread.run_sync(DAMAGES[kind], store(home))
    append(home, "bare", line("track", values={"x": 0.5}))

    await drain(home)

    assert sent == {"r": (2 * STEPS, 2 * STEPS), "bare": (4, 4)}
    assert times_sent(home) == {"r": (2 * STEPS, 2 * STEPS), "bare": (5, 5)}
    assert logged(home) == [*expected, (0, 0.5)]
    assert broken(home)[:1] == ([] if kind == "1 byte" else ["steplog.db.broken-"])
    assert document(home, "r")["status"] == arrived(home, "r").settled.status == "SUCCESS"


@pytest.mark.parametrize("has_looked", [False, True])
async def test_a_store_that_is_gone_is_folded_again(home: Path, has_looked: bool) -> None:
    """There is nothing to set aside; `steplogd status` may have made an empty one meanwhile."""
    expected = tell(home)
    await drain(home)
    sent = times_sent(home)
    store(home).unlink()
    if has_looked:
        await to_thread.run_sync(steplogd, "status")

    await drain(home)

    assert (times_sent(home), logged(home), broken(home)) == (sent, expected, [])


async def test_an_empty_file_is_a_store_that_is_gone(home: Path) -> None:
    """As a full disk may leave one."""
    expected = tell(home)
    await drain(home)
    sent = times_sent(home)
    store(home).write_bytes(b"")

    await drain(home)

    assert (times_sent(home), logged(home)) == (sent, expected)


WHILE_SERVING: dict[str, Callable[[Path], None]] = {
    "deleted": lambda path: path.unlink(),
    "replaced": replace,
    "replaced by a folder": make_folder,
    "wal deleted": lambda path: path.with_name("steplog.db-wal").unlink(),
    "locks deleted": lambda path: path.with_name("steplog.db-shm").unlink(),
}


@pytest.mark.parametrize("kind", WHILE_SERVING)
async def test_a_store_that_is_taken_from_a_daemon_is_folded_again(home: Path, kind: str) -> None:
    """It serves on in the same process, though nothing comes to be written."""
    async with served(home):
        expected = tell(home)
        await until(lambda: (home / "runs" / "r.json").exists() and len(logged(home)) == 804)
        await until(lambda: times_sent(home).get("bare") == (4, 4))
        sent = times_sent(home)
        number = store(home).stat().st_ino
        home.with_name("kept").hardlink_to(store(home))  # or a new one may get its inode
        await to_thread.run_sync(WHILE_SERVING[kind], store(home))
        await until(lambda: store(home).is_file() and store(home).stat().st_ino != number)
        append(home, "bare", line("track", values={"x": 0.5}))
        await until(lambda: times_sent(home)["bare"] == (5, 5))
        await until(lambda: logged(home) == [*expected, (0, 0.5)])

    assert times_sent(home) == {**sent, "bare": (5, 5)}


async def test_a_store_that_breaks_under_a_daemon_is_set_aside(home: Path) -> None:
    """Whoever meets it: here it is who writes a document, as the daemon has read its pages."""
    async with served(home):
        expected = tell(home)
        await until(lambda: len(logged(home)) == len(expected))
        await until(lambda: times_sent(home).get("bare") == (4, 4))
        await to_thread.run_sync(spoil_under_a_daemon, store(home))
        append(home, "bare", line("track", values={"x": 0.5}))
        a = Scribe()
        append(home, "late", a.line("join"), a.line("leave"))
        await until((home / "runs" / "late.json").exists)
        await until(lambda: logged(home) == [*expected, (0, 0.5)])
        await until(lambda: times_sent(home)["bare"] == (5, 5))

    assert times_sent(home)["r"] == (2 * STEPS, 2 * STEPS)
    assert broken(home)[0] == "steplog.db.broken-"


def spoil_under_a_daemon(path: Path) -> None:
    """Spoil all of the file, and leave nothing in the WAL that would hide it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil_every_page(path)


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the store as another program may, so that nobody else can even read it."""
    with contextlib.closing(sqlite3.connect(store(home), isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("COMMIT")


async def test_a_daemon_waits_for_a_store_that_is_locked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so once, and sets nothing aside."""
    tell(home)
    await drain(home)
    append(home, "bare", line("track", values={"x": 0.5}))
    with contextlib.ExitStack() as lock:
        lock.enter_context(locked(home))
        async with served(home):
            await until(lambda: "store is locked" in capsys.readouterr().out)
            await anyio.sleep(1.5)  # some attempts more
            said_more = "store is locked" in capsys.readouterr().out
            lock.close()
            await until(lambda: times_sent(home)["bare"] == (5, 5))

    assert not said_more
    assert broken(home) == []


def test_a_daemon_that_waits_for_a_lock_can_be_told_to_stop(home: Path) -> None:
    """With 0; nothing was in flight."""
    steplogd("drain")
    command = [sys.executable, "-m", "steplogd", "run"]
    with locked(home), subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr
        first = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        status = process.wait(DEADLINE_SECONDS)

    assert b"store is locked" in first
    assert status == 0


def test_a_drain_gives_up_a_store_that_stays_locked(home: Path) -> None:
    """In time, with 75 and one sentence."""
    tell(home)
    steplogd("drain")
    with locked(home):
        told = steplogd("drain", "--timeout", "0.5")

    assert told.returncode == 75
    assert told.stderr.splitlines()[-1].endswith("has it locked (database is locked).")


async def test_a_daemon_that_meets_a_lock_goes_on_when_it_is_free(home: Path) -> None:
    """What came meanwhile is not lost."""
    async with served(home):
        tell(home)
        await until(lambda: times_sent(home).get("bare") == (4, 4))
        with contextlib.closing(sqlite3.connect(store(home), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            append(home, "bare", line("track", values={"x": 0.5}))
            await anyio.sleep(0.5)
            other.execute("COMMIT")
        await until(lambda: times_sent(home)["bare"] == (5, 5))

    assert broken(home) == []


@pytest.mark.parametrize("command", ["status", "verify", "replay", "dead-letters", "drain"])
def test_nobody_but_the_holder_sets_a_store_aside(home: Path, command: str) -> None:
    """An onlooker says one sentence; the file stays where it is."""
    home.mkdir()
    config = configure(home, MEMORY)
    store(home).write_bytes(b"mine" * 5000)
    arguments = ["memory"] if command == "replay" else []
    with hold(home):
        told = steplogd(command, *arguments, "--config", config)

    assert told.returncode == 1
    assert "not a database" in told.stderr
    assert "steplogd run" in told.stderr
    assert len(told.stderr.splitlines()) == 1
    assert store(home).read_bytes() == b"mine" * 5000


def test_no_broken_store_takes_the_place_of_another(tmp_path: Path) -> None:
    """Within one second there may be several."""
    path = tmp_path / "steplog.db"
    places = []
    for content in ("first", "second", "third"):
        path.write_text(content)
        path.with_name("steplog.db-wal").write_text(f"{content} wal")
        places.append(set_aside(path))

    assert len(set(places)) == 3
    assert [place.read_text() for place in places if place] == ["first", "second", "third"]
    wals = [place.with_name(f"{place.name}-wal").read_text() for place in places if place]
    assert wals == ["first wal", "second wal", "third wal"]
    assert set_aside(path) is None
