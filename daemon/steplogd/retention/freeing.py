"""Compresses and removes archived spools, a page of them at a time, and says so."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

import structlog
from msgspec.structs import replace

from steplogd.folding.complaints import Complaints
from steplogd.retention.archive import NoArchive, Place
from steplogd.retention.archivist import Grown
from steplogd.retention.turned_down import LONG_SECONDS
from steplogd.retention.writers import NotNow
from steplogd.store.archived import START

if TYPE_CHECKING:
    from collections.abc import Callable

    from steplogd.core.retention import Policy
    from steplogd.home_disk import HomeDisk
    from steplogd.retention.archivist import Archivist, Done
    from steplogd.retention.budget import Budget
    from steplogd.retention.turned_down import TurnedDown
    from steplogd.store.archived import Archived, ArchivedSpool

PAGE: Final = 100
"""How many are looked at in a round."""

_NOT_ITS_FAULT: Final = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EXDEV),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTDIR),
}
"""What an error says that every other spool would meet, too."""

_log = structlog.get_logger()


class Stopped(Exception):  # it is a state of affairs, not a mistake
    """The service is told to stop, or to go by another policy."""


class Short(Exception):
    """The disk has no room for what is compressed, or is not to be written; the text says so."""


class Freeing:
    """Goes through what is archived, turn after turn; to be used by one thread at a time.

    Args:
        archivist: Does it.
        archived: The store.
        budget: Is told what was freed.
        disk: Where they are compressed; not while it is short.
        turned_down: Runs that are left alone.
        is_stopping: Tells whether to stop: at once, in the middle of a spool.
        policy: Returns what is asked for now; when that becomes another one, it stops likewise.
    """

    def __init__(
        self,
        archivist: Archivist,
        archived: Archived,
        budget: Budget,
        disk: HomeDisk,
        turned_down: TurnedDown,
        is_stopping: Callable[[], bool],
        policy: Callable[[], Policy],
    ) -> None:
        self._archivist = archivist
        self._archived = archived
        self._budget = budget
        self._disk = disk
        self._turned_down = turned_down
        self._is_stopping = is_stopping
        self._current_policy = policy
        self._policy = policy()
        self._after_resting = self._after_compressed = START
        self._done: list[Done] = []
        self._complaints = Complaints()
        self._is_durable = False
        self.is_turn_over = False

    def finish_page(self, policy: Policy, now: float) -> tuple[list[tuple[str, int]], str]:
        """Move a page of spools on that rest.

        Args:
            policy: What is asked for.
            now: The time of day in seconds since the epoch; NaN when that is not to be trusted.

        Returns:
            Those that have grown, by run id and number; and why the disk has no room, or "".

        Raises:
            Stopped: It is time to stop, or the policy is another one by now.
            StoreError: The store cannot be used now.
        """
        self._policy = policy
        late: list[tuple[str, int]] = []
        shortage = ""
        page = self._archived.in_state("resting", self._after_resting, PAGE)
        self._is_durable = False
        for run_no, run_id, spool in page:
            self._check_stop()
            try:
                self._finish(run_no, Place(run_id, spool.number), spool, policy, now)
            except Grown:
                late.append((run_id, spool.number))
            except Short as error:
                shortage, policy = str(error), _only_looking(policy)
        self.is_turn_over = len(page) < PAGE
        if self.is_turn_over:
            self._complaints.begin_anew()
        self._after_resting = START if self.is_turn_over else _end_of(page)
        return late, shortage

    def remove_page(self, policy: Policy, now: float, excess_bytes: int) -> None:
        """Remove compressed spools of a page that are due, and as many as free what is too much.

        Those of the runs that began first go first, whenever they ended.

        Raises:
            Stopped: It is time to stop, or the policy is another one by now.
            StoreError: The store cannot be used now.
        """
        self._policy = policy
        until_ts = policy.looked_at_until(now, excess_bytes)
        if until_ts is None:
            return
        page = self._archived.in_state("compressed", self._after_compressed, PAGE, until_ts)
        is_last = len(page) < PAGE
        self._after_compressed = START if is_last else _end_of(page)
        self.is_turn_over = self.is_turn_over and is_last
        for run_no, run_id, spool in page:
            self._check_stop()
            if excess_bytes and not self._budget.excess(policy):
                return
            if run_id in self._turned_down:
                continue
            try:
                place = Place(run_id, spool.number)
                self._note(run_id, self._archivist.remove_compressed(run_no, place, spool))
            except NotNow:
                self._turned_down.add(run_id)
            except OSError as error:
                self.turn_down(run_id, error)

    def turn_down(self, run_id: str, error: OSError) -> None:
        """Leave a run alone for long, and say so.

        Raises:
            Short: It is not that run's fault.
        """
        if isinstance(error, NoArchive):
            raise Short(str(error)) from error
        if error.errno in _NOT_ITS_FAULT:  # named by what is the same of all, or each would be news
            raise Short(error.strerror) from error
        self._turned_down.add(run_id, LONG_SECONDS)
        reason = error.strerror or str(error)
        self._complaints.say("spool cannot be archived", run_id, reason=reason)

    def say_done(self) -> bool:
        """Say in one line what was done since this was called last; return whether anything was."""
        if len(self._done) > 1:
            before, after = (sum(sizes) for sizes in zip(*(d[1:] for d in self._done), strict=True))
            count = len(self._done)
            _log.info("spools archived", count=count, bytes_before=before, bytes_after=after)
        is_any = bool(self._done)
        self._done.clear()
        return is_any

    def _finish(
        self, run_no: int, place: Place, spool: ArchivedSpool, policy: Policy, now: float
    ) -> None:
        if place.run_id in self._turned_down:
            policy = _only_looking(policy)
        if policy.action == "remove" and self._archived.holds_more(run_no):
            policy = replace(policy, action="compress")
        check = self._check_compressing if policy.action == "compress" else self._check_stop
        try:
            done = self._archivist.finish(run_no, place, spool, policy.action, now, check)
        except NotNow:
            self._turned_down.add(place.run_id)
        except OSError as error:
            self.turn_down(place.run_id, error)
        else:
            if done is not None:
                self._note(place.run_id, done)

    def _check_stop(self) -> None:
        if self._is_stopping() or self._current_policy() is not self._policy:
            raise Stopped

    def _check_compressing(self) -> None:
        self._check_stop()
        if shortage := self._disk.shortage():
            raise Short(shortage)
        # What is done to files survives a power cut that takes the store's last commits, and then
        # it would know less of a spool than was folded. Once is enough for all of a page.
        if not self._is_durable and not self._archived.make_durable():
            raise NotNow("somebody reads the store")
        self._is_durable = True

    def _note(self, run_id: str, done: Done) -> None:
        self._budget.note_done(done)
        self._done.append(done)
        _log.info(
            "spool removed" if done.action == "remove" else "spool compressed",
            run=run_id,
            action=done.action,
            bytes_before=done.before,
            bytes_after=done.after,
        )


def _only_looking(policy: Policy) -> Policy:
    return type(policy)(after_days=policy.after_days)


def _end_of(page: list[tuple[int, str, ArchivedSpool]]) -> tuple[int, int]:
    run_no, _, spool = page[-1]
    return run_no, spool.number
