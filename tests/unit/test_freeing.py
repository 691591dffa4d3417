"""A page of archived spools: what is done with each, and when that is broken off."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from steplogd.core.retention import Policy
from steplogd.home_disk import HomeDisk
from steplogd.retention.budget import Budget
from steplogd.retention.freeing import Freeing, Stopped
from steplogd.retention.turned_down import TurnedDown
from steplogd.store.archived import START, write_archived
from tests.shelf import PLACE, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from steplogd.retention.archive import Place
    from steplogd.store.archived import State

KEEP = Policy("keep")
REMOVE = Policy("remove", after_days=0)
COMPRESS = Policy("compress", after_days=0)
MANY = 5


class Desk:
    """A shelf whose run has many archived spools that have rested, and who frees their room."""

    def __init__(self, shelf: Shelf, *, is_compressed: bool = False) -> None:
        self.shelf = shelf
        self.policy = REMOVE
        budget = Budget(shelf.home, shelf.archived, lambda: False)
        self.freeing = Freeing(
            shelf.archivist,
            shelf.archived,
            budget,
            HomeDisk(shelf.home, 0),
            TurnedDown(),
            lambda: False,
            lambda: self.policy,
        )
        shelf.take()
        if is_compressed:
            shelf.finish("compress")
        self._multiply(PLACE._replace(is_compressed=is_compressed))

    def _multiply(self, place: Place) -> None:
        state: State = "compressed" if place.is_compressed else "resting"
        ((run_no, _, spool),) = self.shelf.archived.in_state(state, START, 1)
        for number in range(2, MANY + 1):
            archive = self.shelf.archive
            shutil.copy(archive.path(place), archive.path(place._replace(number=number)))
            with self.shelf.database.transaction() as connection:
                write_archived(connection, run_no, replace(spool, number=number))

    def free(self) -> None:
        """Go through a page of each."""
        self.freeing.finish_page(REMOVE, 2e9)
        self.freeing.remove_page(REMOVE, 2e9, 0)

    def left(self) -> int:
        """Return how many spools lie in the archive."""
        return len(list(self.shelf.archive.places()))


@pytest.fixture(autouse=True)
def rested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each archived spool have rested."""
    monkeypatch.setattr("steplogd.retention.archivist.REST_SECONDS", 0.0)


@pytest.mark.parametrize("is_compressed", [False, True])
def test_another_policy_stops_the_page_that_is_under_way(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, is_compressed: bool
) -> None:
    """Who asks to keep what there is does so because he wants it."""
    desk = Desk(shelf, is_compressed=is_compressed)
    remove = shelf.archive.remove

    def remove_and_reload(place: Place) -> None:
        remove(place)
        desk.policy = KEEP

    monkeypatch.setattr(shelf.archive, "remove", remove_and_reload)
    with pytest.raises(Stopped):
        desk.free()

    assert desk.left() == MANY - 1


@pytest.mark.parametrize("column", ["unknown", "malformed"])
def test_spools_that_hold_more_than_the_run_log_are_compressed_instead(
    shelf: Shelf, column: str
) -> None:
    """A later version may know what that is; here it was but counted."""
    desk = Desk(shelf)
    with shelf.database.transaction() as connection:
        connection.execute(f"UPDATE run SET {column} = 1")
    desk.free()
    desk.free()

    assert {place.is_compressed for place in shelf.archive.places()} == {True}
    assert desk.left() == MANY


def test_what_is_folded_is_durable_before_a_page_is_compressed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the store's file itself; and once for all of it, as each time the disk is waited for."""
    desk = Desk(shelf)
    desk.policy = COMPRESS
    done: list[object] = []
    compress, make_durable = shelf.archive.compress, shelf.archived.make_durable

    def look_and_compress(place: Place, size: int, may_go_on: Callable[[], None]) -> int:
        copy = shutil.copy(shelf.home / "steplog.db", shelf.home / "copy.db")
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            done.extend(connection.execute("SELECT count(*) FROM archived").fetchone())
        return compress(place, size, may_go_on)

    def note_and_make_durable() -> bool:
        done.append("durable")
        return make_durable()

    monkeypatch.setattr(shelf.archive, "compress", look_and_compress)
    monkeypatch.setattr(shelf.archived, "make_durable", note_and_make_durable)
    desk.freeing.finish_page(COMPRESS, 2e9)

    assert done == ["durable", *[MANY] * MANY]


def test_nothing_is_compressed_while_the_store_cannot_be_made_durable(shelf: Shelf) -> None:
    """As while somebody reads what it was before; it is tried again later."""
    with contextlib.closing(sqlite3.connect(shelf.home / "steplog.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM run").fetchone()
        desk = Desk(shelf)
        desk.policy = COMPRESS
        desk.freeing.finish_page(COMPRESS, 2e9)

    assert not any(place.is_compressed for place in shelf.archive.places())
