"""Takes finished spools into the archive and, once they have rested, compresses or removes them.

Each step is a change of files and one of the store, in the order that `archive.py` explains; all of
them can be broken off anywhere, and are gone on with at the next start.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from steplog.home import spool_folder
from steplogd.retention.archive import Place
from steplogd.retention.recovery import recover_absent
from steplogd.retention.writers import NotNow
from steplogd.store.archived import ArchivedSpool
from steplogd.store.database import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from steplogd.core.retention import Action
    from steplogd.folding.line import Line
    from steplogd.retention.archive import Archive
    from steplogd.store.archived import Archived, FinishedRun, State

REST_SECONDS: Final = 60.0
"""How long an archived spool lies as it was, though nobody has it open: somebody may just have been
about to open it when it was renamed."""

LONG_REST_SECONDS: Final = 24 * 60 * 60.0
"""The same where the kernel does not tell whether anybody has it open, as on a network file system:
who writes without a lock, or on another machine, has written within a day, or is not there any
more."""


class Done(NamedTuple):
    """What was done with an archived spool, and how many bytes it took before and takes now."""

    action: Action
    before: int
    after: int


class Grown(Exception):  # it is a state of affairs, not a mistake
    """An archived spool has lines that came late."""


class Archivist:
    """Moves spools on, one at a time.

    Args:
        home: Where they lie.
        archive: Where they come.
        archived: The store, which is told.
        line: Folds them; `take` and `tell_again` are to be called when nobody else uses it.
    """

    def __init__(self, home: Path, archive: Archive, archived: Archived, line: Line) -> None:
        self._folder = spool_folder(home)
        self._archive = archive
        self._archived = archived
        self._line = line
        self._untold: dict[str, tuple[int, ArchivedSpool]] = {}

    def take(self, run: FinishedRun) -> int:
        """Take the spool of a run that ended into the archive.

        Returns:
            Its size in bytes; 0 where there is none any more.

        Raises:
            NotNow: It has to stay.
            OSError: It cannot be taken.
            StoreError: The store cannot be told; it is where it was, or its run is not read until
                the store is told.
        """
        if not self._line.is_at_rest(run.run_id) or not self._archived.is_finished(run):
            raise NotNow("the run goes on")
        place = self._free_place(run)
        try:
            size, has_grown = self._archive.take_out(run.run_id, place.number, run.offset, run.mark)
        except FileNotFoundError:
            if not self._folder.is_dir():
                raise
            self._archived.note_absent(run.run_no)
            return 0
        state: State = "unread" if has_grown else "resting"
        spool = ArchivedSpool(place.number, run.offset, run.mark, size, state)
        try:
            self._archived.archive(run.run_no, spool)
        except StoreError:
            if not self._archive.put_back(place):
                self._line.held.add(run.run_id)
                self._untold[run.run_id] = run.run_no, spool
            raise
        self._line.forget_spool(run.run_id, spool)
        return size

    def tell_again(self) -> None:
        """Tell the store what it could not be told; raises StoreError when it still cannot be."""
        for run_id, (run_no, spool) in list(self._untold.items()):
            self._archived.archive(run_no, spool)
            self._line.forget_spool(run_id, spool)
            del self._untold[run_id]

    def finish(
        self,
        run_no: int,
        place: Place,
        spool: ArchivedSpool,
        action: Action,
        now: float,
        may_go_on: Callable[[], None],
    ) -> Done | None:
        """Compress or remove an archived spool that has rested; None where it goes on to rest.

        Args:
            run_no: The number of its run.
            place: Where it lies, as it was.
            spool: What the store knows of it.
            action: What to do.
            now: The time of day in seconds since the epoch; NaN when that is not to be trusted.
            may_go_on: Called before each piece of work; raises what there is against it.

        Raises:
            Grown: There is more to be folded of it first.
            NotNow: Somebody has it open, or reads the store; or it is to be removed, and its run
                goes on or is not everywhere yet.
            OSError: It cannot be done.
            StoreError: The store cannot be told, and is by the next call.
            Exception: What `may_go_on` raised.
        """
        status = self._archive.status(place)
        if status is None:
            recover_absent(self._archive, self._archived, run_no, place.run_id, spool)
            return None
        if status.st_size != spool.size:
            raise Grown
        if action == "keep" or not self._has_rested(place, status.st_ctime, now):
            return None
        may_go_on()
        if action == "compress":
            size = self._archive.compress(place, spool.size, may_go_on)
            self._archived.settle(run_no, replace(spool, state="compressed", size=size))
            return Done(action, spool.size, size)
        # Who had it open until just now may have written to it after it was looked at.
        if (status := self._archive.status(place)) and status.st_size != spool.size:
            raise Grown
        self._remove(run_no, place, spool)
        return Done(action, spool.size, 0)

    def remove_compressed(self, run_no: int, place: Place, spool: ArchivedSpool) -> Done:
        """Remove an archived spool that is compressed; raises NotNow, OSError and StoreError."""
        self._remove(run_no, place._replace(is_compressed=True), spool)
        return Done("remove", spool.size, 0)

    def _remove(self, run_no: int, place: Place, spool: ArchivedSpool) -> None:
        # There will be nothing to fold it from again. So the store itself has all of it before, and
        # that it is removed: else, it would be set aside should its last commits be lost.
        if not self._archived.note_removed(run_no, spool):
            raise NotNow("the run goes on, or a backend or its run log does not have all of it")
        is_done = False
        try:
            if self._archived.make_durable():
                self._archive.remove(place)
                is_done = True
        finally:
            if not is_done:
                self._archived.settle(run_no, spool)
        if not is_done:
            raise NotNow("somebody reads the store")

    def _free_place(self, run: FinishedRun) -> Place:
        """Return where nothing lies: a store that was lost may not know all that is archived."""
        place = Place(run.run_id, self._archived.last_number(run.run_no) + 1)
        while self._archive.is_taken(place):
            place = place._replace(number=place.number + 1)
        return place

    def _has_rested(self, place: Place, since: float, now: float) -> bool:
        # A clock that was set tells too much or too little: an hour is not worth waiting for it.
        if abs(time.time() - since) < REST_SECONDS:
            return False
        writers = self._archive.writers(place)
        if writers == "somebody":
            raise NotNow("somebody has it open to write to it")
        return writers == "nobody" or now - since >= LONG_REST_SECONDS
