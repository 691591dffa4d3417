"""Brings the store to what lies in the archive, at the start: a kill may have come in between.

What is archived and what the store knows of it differ in these ways, each of which has one answer:

* an archived spool that the store does not know, and that is known by the mark of its run's
  checkpoint: it was renamed, and the store is told so now;
* one that has its old name as well: it was about to be put back, and is;
* any other that the store does not know: the store is a new one, and it is folded from its start;
* one that the store knows, and that is not there: it was compressed, or put back, or removed; a
  compressed one is read on, as the disk may have forgotten what was folded of it last;
* one that the store has for compressed or removed, and that is there as it was: the disk has
  forgotten that, as after a power cut, and it is done again. So it is with one that is there
  compressed and that the store has for removed, which it notes just before that is done.

Where that cannot be told for now, as there are too many open files, say, nothing of the run is
folded until it can be.
"""

from __future__ import annotations

import contextlib
import itertools
from gzip import BadGzipFile
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from msgspec.structs import replace

from steplogd.intake.tail import NotASpool
from steplogd.retention.archive import Place
from steplogd.retention.compression import Unfaithful
from steplogd.store.archived import START, ArchivedSpool

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from steplogd.retention.archive import Archive
    from steplogd.store.archived import Archived, State

DAMAGE: Final = (BadGzipFile, Unfaithful, NotASpool, FileNotFoundError)
"""What says that there is nothing to be read, now or later."""

_PAGE: Final = 500

_log = structlog.get_logger()


class Unread(NamedTuple):
    """An archived spool that is to be folded on, and whether it is compressed by now."""

    spool: ArchivedSpool
    is_compressed: bool = False


class Found(NamedTuple):
    """What is to be folded of the archive, and why that cannot be told now, each by run id."""

    unread: dict[str, list[Unread]]
    unsure: dict[str, str]

    @contextlib.contextmanager
    def doubting(self, run_id: str) -> Iterator[None]:
        """Note that it cannot be told of a run, and why, where a file cannot be read."""
        try:
            yield
        except OSError as error:
            self.unsure[run_id] = str(error)
            self.unread.pop(run_id, None)


def recover(archive: Archive, archived: Archived, run_ids: Collection[str] | None = None) -> Found:
    """Bring the store to what is archived, before anything is folded of it; return what is to be.

    Args:
        archive: The archive of a home that is held.
        archived: The store.
        run_ids: Of these runs alone: those that were unsure, while others are folded and archived.

    Raises:
        OSError: The archive cannot be read.
        StoreError: The store cannot be used now.
    """
    found = Found({}, {})
    for page, known in pages(_places(archive, run_ids), archived):
        # As it was before as it is compressed: where there are both, that is the whole one.
        for place in sorted(page, key=lambda place: place.is_compressed):
            if place.run_id not in found.unsure:
                with found.doubting(place.run_id):
                    _look_at(archive, archived, place, known, found.unread)
    for run_no, run_id, spool in _not_settled(archived, run_ids):
        with found.doubting(run_id):
            recover_absent(archive, archived, run_no, run_id, spool)
    for waiting in found.unread.values():
        waiting.sort(key=lambda one: one.spool.number)
    return found


def _look_at(
    archive: Archive,
    archived: Archived,
    place: Place,
    known: dict[tuple[str, int], ArchivedSpool],
    unread: dict[str, list[Unread]],
) -> None:
    key = place.run_id, place.number
    spool = known.get(key) or _adopted(archive, archived, place)
    if spool is None:
        return
    known[key] = spool
    if _is_unread(archive, archived, place, spool):
        waiting = unread.setdefault(place.run_id, [])
        if all(other.spool.number != place.number for other in waiting):
            waiting.append(Unread(spool, place.is_compressed))


def _places(archive: Archive, run_ids: Collection[str] | None) -> Iterator[Place]:
    if run_ids is None:
        return archive.places()
    # What is not finished may be so soon.
    return (place for place in archive.places(is_onlooker=True) if place.run_id in run_ids)


def _not_settled(
    archived: Archived, run_ids: Collection[str] | None
) -> Iterator[tuple[int, str, ArchivedSpool]]:
    for state in ("unread", "resting"):
        for row in all_in_state(archived, state):
            if run_ids is None or row[1] in run_ids:
                yield row


def pages(
    places: Iterable[Place], archived: Archived
) -> Iterator[tuple[list[Place], dict[tuple[str, int], ArchivedSpool]]]:
    """Go through archived spools, some at a time, with what the store knows of their runs'."""
    rest = iter(places)
    while page := list(itertools.islice(rest, _PAGE)):
        yield page, archived.known({place.run_id for place in page})


def _adopted(archive: Archive, archived: Archived, place: Place) -> ArchivedSpool | None:
    """Return what is to be noted of an archived spool that the store does not know; None if gone.

    A run that the store does not know either is noted with the first lines that are folded of it.
    """
    run_no, offset, mark = archived.checkpoint(place.run_id)
    unread = ArchivedSpool(place.number, 0, b"", 0, "unread")
    if archive.is_put_back(place):
        return None
    if not offset:
        return unread
    try:
        if not mark or not archive.is_known_by(place, offset, mark):
            return unread
    except DAMAGE as error:
        _log.error("archived spool cannot be read", run=place.run_id, reason=str(error))
        return None
    # More may have been written to it since: by its size, it has not been looked at yet.
    state: State = "unread" if place.is_compressed else "resting"
    spool = ArchivedSpool(place.number, offset, mark, offset, state)
    archived.archive(run_no, spool)
    return spool


def _is_unread(archive: Archive, archived: Archived, place: Place, spool: ArchivedSpool) -> bool:
    if spool.state == "unread":
        return True
    if place.is_compressed:
        return _is_unread_compressed(archive, archived, place, spool)
    status = archive.status(place)
    if status is None:
        return False
    if spool.state != "resting":
        run_no, _, _ = archived.checkpoint(place.run_id)
        archived.settle(run_no, replace(spool, state="resting", size=status.st_size))
    return bool(status.st_size != spool.size)


def _is_unread_compressed(
    archive: Archive, archived: Archived, place: Place, spool: ArchivedSpool
) -> bool:
    """Note that one is there compressed, and does not rest, nor is removed.

    Unless it is there as it was, too. If it rested, the disk may have forgotten what was folded of
    it last: to know how much that is, it is read on.
    """
    compressed = archive.status(place)
    if not compressed or archive.status(place._replace(is_compressed=False)):
        return False
    run_no, _, _ = archived.checkpoint(place.run_id)
    if spool.state == "removed":
        archived.settle(run_no, replace(spool, state="compressed", size=compressed.st_size))
    elif spool.state == "resting":
        archived.settle(run_no, replace(spool, state="unread"))
    return spool.state == "resting"


def recover_absent(
    archive: Archive, archived: Archived, run_no: int, run_id: str, spool: ArchivedSpool
) -> None:
    """Bring the store to what became of an archived spool, if that is not there as it was.

    Raises:
        OSError: It cannot be told now.
        StoreError: The store cannot be used now.
    """
    place = Place(run_id, spool.number)
    if archive.status(place):
        return
    if compressed := archive.status(place._replace(is_compressed=True)):
        if spool.state == "resting":
            archived.settle(run_no, replace(spool, state="compressed", size=compressed.st_size))
    elif _is_in_place(archive, run_id, spool):
        archived.restore(run_no, spool)
    else:
        archived.settle(run_no, replace(spool, state="removed", size=0))


def _is_in_place(archive: Archive, run_id: str, spool: ArchivedSpool) -> bool:
    try:
        return bool(spool.mark) and archive.is_known_by(Place(run_id, 0), spool.offset, spool.mark)
    except DAMAGE:
        return False


def all_in_state(archived: Archived, state: State) -> Iterator[tuple[int, str, ArchivedSpool]]:
    """Go through the archived spools in a state, with number and id of their runs."""
    after = START
    while page := archived.in_state(state, after, _PAGE):
        yield from page
        run_no, _, last = page[-1]
        after = run_no, last.number
