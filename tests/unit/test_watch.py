"""Notifications by the real kernel: a hint which spool was appended to."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from steplogd.intake.watch import watch
from tests.guard import RULES
from tests.lines import append

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = RULES
DEADLINE_SECONDS = 20
HOLD = "import sys; spool = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()"


@contextlib.asynccontextmanager
async def watching(home: Path) -> AsyncIterator[AsyncIterator[set[str]]]:
    """Watch a home's spools until the block ends, which must not take long."""
    stop = anyio.Event()
    with anyio.fail_after(DEADLINE_SECONDS):
        hints = watch(home / "spool", stop)
        yield hints
        stop.set()
        async for _ in hints:
            pass


async def until(hints: AsyncIterator[set[str]], wanted: set[str]) -> None:
    """Take hints until these runs were among them; no run at all means that the watch stands."""
    if not wanted:
        while await anext(hints):
            pass
    while wanted:
        wanted = wanted - await anext(hints)


async def write(home: Path, run_id: str) -> None:
    """Append to a spool, in a thread."""
    await anyio.to_thread.run_sync(append, home, run_id, b"one\n")


def most_queued() -> int:
    """Return how many notifications the kernel keeps until they are read."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_bytes())


async def test_who_appends_is_told(tmp_path: Path) -> None:
    """A new spool, and an old one again."""
    async with watching(tmp_path) as hints:
        await until(hints, set())

        for _ in range(3):
            await write(tmp_path, "r")
            await until(hints, {"r"})


async def test_the_folder_is_made_when_absent(tmp_path: Path) -> None:
    """And for its owner alone."""
    async with watching(tmp_path) as hints:
        await until(hints, set())

    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


async def test_a_folder_that_was_deleted_and_made_again_is_watched(tmp_path: Path) -> None:
    """The kernel says no more of the old one, and nobody could tell that from silence."""
    async with watching(tmp_path) as hints:
        await until(hints, set())
        await write(tmp_path, "before")
        await until(hints, {"before"})
        await anyio.to_thread.run_sync(shutil.rmtree, tmp_path / "spool")
        await write(tmp_path, "unseen")

        await until(hints, set())
        await write(tmp_path, "after")
        await until(hints, {"after"})


async def test_other_files_are_no_runs(tmp_path: Path) -> None:
    """Nor is what lies further down."""
    told: set[str] = set()
    async with watching(tmp_path) as hints:
        await until(hints, set())
        (tmp_path / "spool" / "note.txt").write_text("one")
        (tmp_path / "spool" / ".hidden.jsonl").write_text("one")
        (tmp_path / "spool" / "deep").mkdir()
        (tmp_path / "spool" / "deep" / "r.jsonl").write_text("one")
        await write(tmp_path, "last")

        while "last" not in told:
            told |= await anext(hints)

    assert told == {"last"}


async def test_a_name_that_is_no_text_costs_no_hint(tmp_path: Path) -> None:
    """Not even when it is told together with others."""
    async with watching(tmp_path) as hints:
        await until(hints, set())
        for name in (b"\xff.jsonl", b"\xfe", b"new\nline.jsonl"):
            (tmp_path / "spool" / os.fsdecode(name)).write_text("one")
        append(tmp_path, "with-them", b"one\n")

        await until(hints, {"with-them"})
        await write(tmp_path, "after")
        await until(hints, {"after"})


async def test_when_the_queue_runs_over_all_is_to_be_looked_at(tmp_path: Path) -> None:
    """The kernel drops what finds no room in it, and says just that."""
    one, other = append(tmp_path, "one"), append(tmp_path, "other")
    async with watching(tmp_path) as hints:
        await until(hints, set())
        for _ in range(most_queued() // 2 + 1):  # alike ones, one after the other, are told once
            os.utime(one)
            os.utime(other)
        append(tmp_path, "unheard", b"1\n")

        told = await anext(hints)
        await until(hints, set())
        await write(tmp_path, "after")
        await until(hints, {"after"})

    assert told == {"one", "other"}


async def test_a_writer_that_is_killed_is_told(tmp_path: Path) -> None:
    """It says nothing any more, but the kernel closes its spool."""
    path = append(tmp_path, "r", b"one\n")
    command = [sys.executable, "-c", HOLD, str(path)]
    async with await anyio.open_process(command) as writer, watching(tmp_path) as hints:
        assert writer.stdout is not None
        await writer.stdout.receive()
        await until(hints, set())
        writer.kill()

        await until(hints, {"r"})


async def test_a_spool_that_is_deleted_or_renamed_is_told(tmp_path: Path) -> None:
    """Under both names that it had."""
    path = append(tmp_path, "r", b"one\n")
    async with watching(tmp_path) as hints:
        await until(hints, set())
        path.rename(path.with_name("s.jsonl"))
        await until(hints, {"r", "s"})
        path.with_name("s.jsonl").unlink()

        await until(hints, {"s"})


async def test_a_folder_that_was_renamed_is_left_though_it_is_written_to(tmp_path: Path) -> None:
    """Whoever has a spool in it open goes on there for ever."""
    path, is_left = append(tmp_path, "r", b"one\n"), anyio.Event()

    async def go_on() -> None:
        with path.with_name("r.jsonl").open("ab", buffering=0) as spool:
            is_open.set()
            while not is_left.is_set():
                spool.write(b"more\n")
                await anyio.sleep(0.01)

    is_open = anyio.Event()
    async with watching(tmp_path) as hints, anyio.create_task_group() as writing:
        await until(hints, set())
        writing.start_soon(go_on)
        await is_open.wait()
        path.parent.rename(tmp_path / "elsewhere")

        await until(hints, set())
        is_left.set()
        await write(tmp_path, "after")
        await until(hints, {"after"})


async def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """It ends the watch, and whoever watches is told."""
    async with watching(tmp_path) as hints:
        await until(hints, set())
        (tmp_path / "spool").rename(tmp_path / "elsewhere")
        (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")

        with pytest.raises(OSError, match=r"directory|symbolic"):
            await until(hints, set())


async def test_to_stop_ends_it_in_time(tmp_path: Path) -> None:
    """Also while it waits for the kernel."""
    stop = anyio.Event()

    async def follow() -> None:
        async for _ in watch(tmp_path / "spool", stop):
            stop.set()

    with anyio.fail_after(DEADLINE_SECONDS):
        await follow()


async def test_a_watch_that_the_kernel_refuses_is_told(tmp_path: Path) -> None:
    """Whoever watches looks by himself then."""
    (tmp_path / "spool").write_text("no folder")

    with pytest.raises(OSError, match="exists"):
        await anext(watch(tmp_path / "spool", anyio.Event()))


async def test_which_limit_is_reached_is_told(tmp_path: Path) -> None:
    """Too many open files, and no more than that, would not say what to raise."""
    (tmp_path / "spool").mkdir()
    hints = watch(tmp_path / "spool", anyio.Event())
    await anyio.to_thread.run_sync(int)  # it needs descriptors of its own
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))  # one: for the folder
    try:
        with pytest.raises(OSError, match="max_user_instances"):
            await anext(hints)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
