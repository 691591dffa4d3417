"""A broken store: damaged, cut, gone, of another version, locked, without its WAL; at random."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.conftest import wait_until
from tests.daemon import arrivals
from tests.torture.torture import torture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.torture.actors import Daemon, Writer
    from tests.torture.house import House

WRITERS: Final = 4
READABLE: Final = '[[backend]]\ntype = "file"\nreads = true\n'
PAGE: Final = 4096
HEADER: Final = 100
LOCK_SECONDS: Final = 6.0
EVENTS_PER_SECOND: Final = 1000
IN_FLIGHT: Final = 2 * 40
"""What may be sent and not acknowledged: a batch of each of two runs."""

_SERVING: Final = b'"serving"'

DAMAGED, CUT, GONE = "store overwritten", "store truncated", "store deleted"
NEWER, FOLDER = "store of another version", "folder in its place"
WAL, SHM = "WAL lost after a kill", "index of the WAL lost after a kill"
TAKEN, REPLACED = "store deleted while it is served", "store replaced while it is served"
TAKEN_WAL, LOCKED = "WAL deleted while it is used", "store locked by another program"
AGAIN = "daemon killed while it folds all again"


@torture(
    "the store is broken", faults=[DAMAGED, CUT, GONE, NEWER, FOLDER, WAL, SHM, AGAIN], share=2
)
def store_broken(house: House) -> None:
    """Kill the daemon while four writers emit, break its store in some way, and start it again."""
    daemon = house.daemon(READABLE)
    writers = _start_writers(house)
    for number in house.rounds(least=len(_HARMS)):
        daemon.start()
        house.pause(0.2, 1.0)
        daemon.kill()
        fault, harm = _HARMS[number % len(_HARMS)]
        if harm(house, house.home / "steplog.db"):
            house.happened(fault)
        if number % 2:
            daemon.start(wait=False)
            house.pause(0.3, 2.0)
            daemon.kill()
            house.happened(AGAIN)
    daemon.start()
    _end(house, daemon, writers, kills=2 * (number + 1))


@torture("the store is taken from the daemon", faults=[TAKEN, TAKEN_WAL, REPLACED, LOCKED])
def store_taken(house: House) -> None:
    """Take the store, or what belongs to it, from a daemon that serves it: it serves on."""
    daemon = house.daemon(READABLE)
    writers = _start_writers(house)
    daemon.start()
    for number in house.rounds(least=4):
        house.pause(0.2, 1.0)
        begin = daemon.log.stat().st_size
        fault, take = _TAKEN[number % len(_TAKEN)]
        take(house, house.home / "steplog.db")
        house.happened(fault)
        if fault != LOCKED:
            wait_until(lambda at=begin: daemon.has_said(_SERVING, at))  # type: ignore[misc]
    _end(house, daemon, writers, kills=number + 1)


def _start_writers(house: House) -> list[Writer]:
    return [
        house.writer(f"r{number % 2}", "numbers", pace=EVENTS_PER_SECOND / WRITERS).start()
        for number in range(WRITERS)
    ]


def _end(house: House, daemon: Daemon, writers: list[Writer], kills: int) -> None:
    """End all well, judge what there is, and lose the store once more: nothing comes again."""
    for writer in writers:
        writer.end()
    daemon.stop()
    house.settle()
    house.judge()
    again = _sent_again(house)
    # What was in flight at a kill may come again where the store was left as it was.
    assert again <= kills * IN_FLIGHT, f"{again:,} observations were sent again, by {kills} kills"
    (house.home / "steplog.db").unlink()
    house.settle()
    assert _sent_again(house) == again, "what the backend has was sent again"
    aside = len(list(house.home.glob("steplog.db.broken-*Z*")))
    house.note(f"{again:,} observations that were in flight came again; {aside} files set aside")


def _sent_again(house: House) -> int:
    """Return how many observations came to the backend beyond the first time."""
    told = arrivals(house.home / "arrived.jsonl")
    times = Counter((one["run"], one["at"]) for one in told if "at" in one)
    return times.total() - len(times)


def _overwrite(house: House, path: Path) -> bool:
    """Overwrite the header, or some page."""
    with path.open("r+b") as file:
        page = house.random.randrange(max(path.stat().st_size // PAGE, 1))
        file.seek(page * PAGE)
        file.write(house.random.randbytes(house.random.choice((HEADER, PAGE))))
    return True


def _truncate(house: House, path: Path) -> bool:
    os.truncate(path, house.random.randrange(path.stat().st_size or 1))
    return True


def _delete(_: House, path: Path) -> bool:
    path.unlink()
    return True


def _set_version(_: House, path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    return True


def _make_folder(_: House, path: Path) -> bool:
    path.unlink()
    path.mkdir()
    return True


def _lose_wal(_: House, path: Path) -> bool:
    return _lose(path.with_name("steplog.db-wal"))


def _lose_index(_: House, path: Path) -> bool:
    return _lose(path.with_name("steplog.db-shm"))


def _lose(path: Path) -> bool:
    is_there = path.exists()
    path.unlink(missing_ok=True)
    return is_there


def _replace(house: House, path: Path) -> bool:
    other = house.folder / "other"
    other.write_bytes(b"mine" * PAGE)
    other.replace(path)
    return True


def _lock(house: House, path: Path) -> bool:
    """Hold the store for longer than the daemon waits in one attempt."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA busy_timeout = 30000")
        other.execute("BEGIN IMMEDIATE")
        house.pause(LOCK_SECONDS, LOCK_SECONDS)
        other.execute("ROLLBACK")
    return True


_HARMS: Final[list[tuple[str, Callable[[House, Path], bool]]]] = [
    (DAMAGED, _overwrite),
    (WAL, _lose_wal),
    (CUT, _truncate),
    (GONE, _delete),
    (SHM, _lose_index),
    (NEWER, _set_version),
    (FOLDER, _make_folder),
]

_TAKEN: Final[list[tuple[str, Callable[[House, Path], bool]]]] = [
    (TAKEN, _delete),
    (LOCKED, _lock),
    (TAKEN_WAL, _lose_wal),
    (REPLACED, _replace),
]
