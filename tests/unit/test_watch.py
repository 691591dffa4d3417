"""Notifications by the real kernel: a hint which spool was appended to."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import anyio
import pytest

from steplogd.intake.watch import watch
from tests.guard import RULES
from tests.lines import append

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = RULES
DEADLINE_SECONDS = 20


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


async def test_a_name_that_is_no_text_ends_no_watch(tmp_path: Path) -> None:
    """It is taken up anew, and all is looked at, as what came with that name was not told."""
    async with watching(tmp_path) as hints:
        await until(hints, set())
        for name in (b"\xff.jsonl", b"\xfe", b"new\nline.jsonl"):
            (tmp_path / "spool" / os.fsdecode(name)).write_text("one")

        await until(hints, set())
        await write(tmp_path, "after")
        await until(hints, {"after"})


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


async def test_a_name_that_is_not_utf_8_ends_nothing(tmp_path: Path) -> None:
    """It ends the watch of the kernel; a new one stands soon, and all is to be looked at."""
    async with watching(tmp_path) as hints:
        await until(hints, set())
        odd = os.fsencode(tmp_path / "spool") + b"/\xff\xfe.jsonl"
        await anyio.to_thread.run_sync(lambda: os.close(os.open(odd, os.O_CREAT)))
        await until(hints, set())

        await write(tmp_path, "r")
        await until(hints, {"r"})
