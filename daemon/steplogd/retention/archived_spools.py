"""The archived spools that have lines to be folded: late ones, or all, after the store was lost."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Final

import structlog

from steplogd.folding.complaints import Complaints
from steplogd.intake.tail import read_chunk
from steplogd.retention.archive import Place
from steplogd.retention.compression import CompressedSpool
from steplogd.retention.recovery import DAMAGE, Unread, all_in_state, recover
from steplogd.store.archived import ArchivedSpool
from steplogd.store.database import StoreError, StoreUnusable

if TYPE_CHECKING:
    from steplogd.intake.tail import Chunk
    from steplogd.retention.archive import Archive
    from steplogd.store.archived import Archived, State

_log = structlog.get_logger()

AT_ONCE: Final = 16
"""How many are folded side by side: to go on with a compressed one that was closed meanwhile, all
before that place has to be read again."""


class ArchivedSpools:
    """Knows what is unread of which; to be used by one thread at a time.

    Args:
        archive: Where they lie.
        archived: The store, which is brought to what lies there.

    Raises:
        StoreError: The store cannot be used now.
    """

    def __init__(self, archive: Archive, archived: Archived) -> None:
        self._archive = archive
        self._archived = archived
        self._trouble = ""
        self._unread: dict[str, list[Unread]] = {}
        self._unsure: dict[str, str] = {}
        self._recover()
        self._open: dict[Place, CompressedSpool] = {}  # the one that was opened first comes first
        self._held_up: dict[str, str] = {}
        self._complaints = Complaints()

    def unread(self) -> list[str]:
        """Return the runs of which archived spools are to be folded next."""
        passed_over = self._held_up.keys() | self._unsure.keys()
        waiting = (run_id for run_id in self._unread if run_id not in passed_over)
        return list(itertools.islice(waiting, AT_ONCE))

    def held_up(self, run_id: str) -> str:
        """Return why what follows of a run cannot be read now, if so: nothing overtakes it."""
        return self._unsure.get(run_id) or self._held_up.get(run_id, "")

    def unsure(self) -> list[str]:
        """Return the runs of which it cannot be told for now what is to be folded."""
        return list(self._unsure)

    def try_again(self) -> dict[str, tuple[int, bytes]]:
        """Have `unread` return the runs, too, of which something could not be read.

        Returns:
            How much of their spools is folded, and its mark, of the runs that were unsure until
            now: the store may have learnt that it is not what it was when we started.

        Raises:
            StoreUnusable: The store cannot be used any more.
        """
        self._held_up.clear()
        try:
            if self._trouble:
                self._recover()
            return self._recover_unsure() if self._unsure else {}
        except StoreUnusable:
            raise
        except (OSError, StoreError):  # the next time, then
            return {}

    def is_unread(self, run_id: str) -> bool:
        """Tell whether archived spools of a run are to be folded."""
        return run_id in self._unread or run_id in self._unsure

    def backlog_bytes(self) -> int:
        """Return how many bytes are to be folded; of compressed ones, how many they have."""
        size_bytes = 0
        for run_id, waiting in self._unread.items():
            for spool, is_compressed in waiting:
                with contextlib.suppress(OSError):
                    status = self._archive.status(Place(run_id, spool.number, is_compressed))
                    offset = 0 if is_compressed else spool.offset
                    size_bytes += max(status.st_size - offset, 0) if status else 0
        return size_bytes

    def look_again(self, run_id: str, number: int) -> None:
        """Have what follows be folded, of an archived spool that has grown since it was folded.

        Raises:
            StoreError: The store cannot be read now.
        """
        # As it is now: what somebody else has seen of it may have been folded since.
        self.take_up(run_id, self._archived.known([run_id])[run_id, number])

    def take_up(self, run_id: str, spool: ArchivedSpool) -> None:
        """Have the rest of an archived spool be folded, before anything that follows it."""
        waiting = self._unread.setdefault(run_id, [])
        if all(other.spool.number != spool.number for other in waiting):
            waiting.append(Unread(spool))
            waiting.sort(key=lambda other: other.spool.number)

    def read(self, run_id: str) -> tuple[Chunk, ArchivedSpool] | None:
        """Return what is to be folded next of a run's archived spools; None when there is nothing.

        None, too, where it cannot be read now, which `held_up` tells; what is damaged is passed
        over.

        Returns:
            The chunk, and what the store is to note of the spool once that is folded.
        """
        while (waiting := self._unread.get(run_id)) and run_id not in self._unsure:
            spool, is_compressed = waiting[0]
            place = Place(run_id, spool.number, is_compressed)
            try:
                chunk = self._read(place, spool.offset)
            except OSError as error:
                if not is_compressed and self._archive.is_compressed(place):
                    waiting[0] = Unread(spool, is_compressed=True)  # just now
                    continue
                reason = error.strerror or str(error)
                path = str(self._archive.path(place))
                if not isinstance(error, DAMAGE):
                    self._close(place)
                    self._held_up[run_id] = f"{path}: {reason}"
                    return None
                what = "archived spool cannot be read"
                self._complaints.say(what, run_id, lies_at=path, reason=reason)
                self._pass_over(run_id)
                continue
            self._held_up.pop(run_id, None)
            state: State = "compressed" if is_compressed else "resting"
            mark = b"" if is_compressed else chunk.end_mark
            after = ArchivedSpool(spool.number, chunk.end, mark, chunk.size, state)
            return chunk, after if not chunk.has_more else after.still_unread()
        return None

    def give_up(self, run_id: str) -> None:
        """Read no more of a run's, until the next start."""
        self._unsure.pop(run_id, None)
        while run_id in self._unread:
            self._pass_over(run_id)

    def close(self) -> None:
        """Close what is open."""
        for place in list(self._open):
            self._close(place)

    def is_last(self, run_id: str, spool: ArchivedSpool) -> bool:
        """Tell whether nothing is left to be folded of a run's once this is."""
        return spool.state != "unread" and len(self._unread[run_id]) == 1

    def note_folded(self, run_id: str, spool: ArchivedSpool) -> None:
        """Note that what `read` returned is committed."""
        if spool.state == "unread":
            self._unread[run_id][0] = self._unread[run_id][0]._replace(spool=spool)
        else:
            self._pass_over(run_id)

    def _recover(self) -> None:
        """Look what lies there; where that cannot be told for now, go by what the store knows."""
        try:
            self._unread, self._unsure = recover(self._archive, self._archived)
        except OSError as error:
            if not self._trouble:
                _log.error("archive cannot be read, trying again", reason=str(error))
                for _, run_id, spool in all_in_state(self._archived, "unread"):
                    self._unread.setdefault(run_id, []).append(Unread(spool))
            self._trouble = str(error)
        else:
            if self._trouble:
                _log.info("what could not be done is done", trouble="archive cannot be read")
            self._trouble = ""

    def _recover_unsure(self) -> dict[str, tuple[int, bytes]]:
        found = recover(self._archive, self._archived, self._unsure)
        sure = self._unsure.keys() - found.unsure.keys()
        checkpoints = {run_id: self._archived.checkpoint(run_id)[1:] for run_id in sure}
        self._unread |= found.unread
        self._unsure = found.unsure
        return checkpoints

    def _read(self, place: Place, offset: int) -> Chunk:
        if not place.is_compressed:
            return read_chunk(self._archive.path(place), offset)
        if place not in self._open:
            if len(self._open) == AT_ONCE:
                self._close(next(iter(self._open)))
            self._open[place] = CompressedSpool(self._archive.path(place))
        return self._open[place].chunk(offset)

    def _pass_over(self, run_id: str) -> None:
        spool, is_compressed = self._unread[run_id].pop(0)
        self._held_up.pop(run_id, None)
        self._close(Place(run_id, spool.number, is_compressed))
        if not self._unread[run_id]:
            del self._unread[run_id]

    def _close(self, place: Place) -> None:
        if place in self._open:
            with contextlib.suppress(OSError):
                self._open.pop(place).close()
