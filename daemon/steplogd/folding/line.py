"""The line from spool to run log: tail, decode, fold and commit, a bounded piece at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from steplog.decoding import decode
from steplogd.core.fold import Fold
from steplogd.core.state import FAIL, PROCESSING
from steplogd.folding.passes import Folded, OpenRun, Pass
from steplogd.folding.presence import look
from steplogd.folding.recent import RecentRuns
from steplogd.folding.rounds import Rounds
from steplogd.folding.run_news import standing, tell
from steplogd.folding.spools import Spools
from steplogd.intake.tail import CHUNK_BYTES
from steplogd.meters import LineMeter
from steplogd.store.database import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from steplog.events import Malformed
    from steplogd.intake.tail import Chunk
    from steplogd.retention.archived_spools import ArchivedSpools
    from steplogd.store.archived import ArchivedSpool
    from steplogd.store.run_logs import RunLogs

PASS_BYTES: Final = 4 * CHUNK_BYTES
"""How much one pass folds at most, over all spools: what one transaction holds."""

PASS_SECONDS: Final = 0.5
"""How long one pass folds before it takes up no further spool: garbage takes longer than lines."""

MOST_WEIGHT_BYTES: Final = 32 * 1024 * 1024
"""What one run may take in memory: some 150,000 keys, tasks and writers. A spool that goes on to
name new ones would else take all that there is, from every other run."""

_TOO_MANY: Final = (
    "it names more keys, tasks, writers and parameters than a run may have; what is folded of it "
    "stays, the rest stands in the spool"
)


class Line:
    """Takes spools to committed run logs; to be used by one thread at a time.

    Every event is in the run log exactly once, whatever is killed: it is committed together with
    the checkpoint, and what was not committed is read again.

    Attributes:
        spools: How far each is read.
        archived: Which archived ones are to be read; their lines come before the spool's.
        held: Runs that are not read for now, as the store does not know yet which spool is theirs.
        meter: What was committed.
        grace_seconds: How long nobody is in a run before it ends.
        idle_seconds: How long a run of visitors alone is silent before it ends.

    Args:
        home: Where the spools lie.
        run_logs: The store.
        grace_seconds, idle_seconds: The same.
        archived: The archived spools.
    """

    def __init__(
        self,
        home: Path,
        run_logs: RunLogs,
        grace_seconds: float,
        idle_seconds: float,
        archived: ArchivedSpools,
    ) -> None:
        self._run_logs = run_logs
        self.grace_seconds = grace_seconds
        self.idle_seconds = idle_seconds
        self.spools = Spools(home, run_logs.checkpoints())
        self.archived = archived
        self.meter = LineMeter()
        self._open: dict[str, OpenRun] = {}
        self._ended: RecentRuns[OpenRun] = RecentRuns()
        self._failed: set[str] = set()
        self.held: set[str] = set()
        self._too_large: set[str] = set()
        self._rounds = Rounds()
        for run_id in run_logs.open_runs():
            self._take_up(run_id)

    def close(self) -> None:
        """Close the files that are read."""
        self.archived.close()

    def leaving(self) -> set[str]:
        """Return the runs that nobody is in, and that wait for the end of the grace period."""
        unreadable = self.spools.unreadable()
        return {
            run_id
            for run_id, run in self._open.items()
            if run.empty_since is not None and run_id not in unreadable
        }

    def open_count(self) -> int:
        """Return how many runs go on."""
        return len(self._open)

    def unread(self) -> list[str]:
        """Return the runs of which archived spools are to be folded next."""
        return self.archived.unread()

    def backlog_bytes(self) -> int:
        """Return how many bytes are not folded yet, archived or not; raises as `spools.sizes`."""
        return self.spools.backlog_bytes() + self.archived.backlog_bytes()

    def waiting(self) -> list[str]:
        """Let archived spools that could not be read have their turn again, and return `unread`.

        Raises:
            StoreUnusable: The store cannot be used any more.
        """
        for run_id, (offset, mark) in self.archived.try_again().items():
            self.spools.go_by(run_id, offset, mark)
            self._ended.take(run_id)
            self._failed.add(run_id)  # not what the store has, any more
        return [*self.unread(), *self.archived.unsure()]

    def unfolded(self, sizes: dict[str, int]) -> list[str]:
        """Return the runs that are not folded up to these sizes, or are in `unread`, each once."""
        return list(dict.fromkeys([*self.unread(), *self.spools.unfolded(sizes)]))

    def look_again(self, run_id: str, number: int) -> None:
        """Have an archived spool that has grown be folded on."""
        self.archived.look_again(run_id, number)

    def is_at_rest(self, run_id: str) -> bool:
        """Tell whether a run has ended, and nothing of it is read, or about to be."""
        return (
            not self.archived.is_unread(run_id)
            and run_id not in self._open
            and run_id not in self._failed
        )

    def forget_spool(self, run_id: str, spool: ArchivedSpool) -> None:
        """Note that the store has a run's spool for archived: its next one begins at the start."""
        self.spools.forget(run_id)
        self._ended.take(run_id)
        if spool.state == "unread":
            self.archived.take_up(run_id, spool)
        self.held.discard(run_id)

    def run(self, run_ids: Sequence[str]) -> Pass:
        """Fold what is new in these runs' spools, and commit it; a fair piece of each.

        Raises:
            StoreError: Nothing was committed; the same call may be made again.
        """
        self._rounds.hear(run_ids)
        try:
            return self._run(run_ids)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  # a defect of ours may cost one run, never the daemon
            if len(run_ids) == 1:
                if run_ids[0] not in self.spools.unreadable():
                    self._run_logs.check_sound()  # what nobody could have written is a broken store
                self._give_up(run_ids[0], f"steplogd has a defect, report it: {error!r}")
                return Pass()
            return self._run_each(run_ids)

    def end_runs(self, now: float, wall_now: float, everyone: bool = True) -> set[int]:
        """End the runs that nobody has been in for the grace period.

        Args:
            now: A clock that never jumps, in seconds.
            wall_now: The time of day, in seconds since the epoch.
            everyone: Whether to look at all of them; else at those that `run` was told of since,
                at those that nobody was in, and at the others in turn.

        Returns:
            The numbers of the runs that ended.

        Raises:
            StoreError: Nothing was committed; the same call may be made again.
        """
        self._take_up_failed()
        ended: list[Folded] = []
        due = self._rounds.due(self._open)
        for run_id, run in self._open.items():
            if not (everyone or run_id in due or run.empty_since is not None):
                continue
            if self._has_ended(run_id, run, now, wall_now):
                before = standing(run.folded.state)
                run.fold.end_run()
                if run_id in self._too_large:
                    run.folded.state.status, run.folded.state.message = FAIL, _TOO_MANY
                ended.append(Folded(run_id, run, before, run.fold.take_changes()))
        self._commit(ended)
        return {folded.run.folded.run_no for folded in ended}

    def _run_each(self, run_ids: Sequence[str]) -> Pass:
        """Fold each by itself, as one's defect is not everybody's; for no longer than a pass."""
        whole, deadline = Pass(), time.monotonic() + PASS_SECONDS
        for place, run_id in enumerate(run_ids):
            if place and time.monotonic() > deadline:
                whole.skipped += run_ids[place:]
                break
            whole.add(self.run([run_id]))
        return whole

    def _run(self, run_ids: Iterable[str]) -> Pass:
        self._take_up_failed()
        done = Pass()
        budget, deadline = PASS_BYTES, time.monotonic() + PASS_SECONDS
        folded: list[Folded] = []
        for run_id in run_ids:
            if budget <= 0 or time.monotonic() > deadline:
                done.skipped.append(run_id)
                continue
            one = self._fold_next(run_id)
            if one is None or one.chunk is None:
                continue
            budget -= len(one.chunk.lines)
            folded.append(one)
            if one.chunk.has_more or one.archived:
                done.unfinished.append(run_id)
        self._commit(folded)
        done.unfinished += self.unread()
        done.advanced = {one.run.folded.run_no for one in folded}
        done.late = any(one.run.folded.state.status != PROCESSING for one in folded)
        return done

    def _fold_next(self, run_id: str) -> Folded | None:
        """Fold what comes next of a run; None where there is nothing, or it is not to be read."""
        if self._is_too_large(run_id) or run_id in self.held:
            return None
        if late := self.archived.read(run_id):
            return self._fold(run_id, late[0], [], late[1])
        if reason := self.archived.held_up(run_id):
            self.spools.refuse(run_id, reason)  # what was written later is folded later
            return None
        found = self.spools.read(run_id)
        return self._fold(run_id, *found) if found else None

    def _fold(
        self,
        run_id: str,
        chunk: Chunk,
        notices: list[Malformed],
        archived: ArchivedSpool | None = None,
    ) -> Folded:
        self._failed.add(run_id)  # ahead of the store, until that is committed
        run = self._open.get(run_id) or self._take_up(run_id)
        before = standing(run.folded.state)
        run.fold.apply(notices, chunk.modified_ts)
        run.fold.apply(decode(chunk.lines, chunk.offset), chunk.modified_ts)
        run.folded.archived = archived
        if archived is None:
            run.folded.offset, run.folded.mark = chunk.end, chunk.end_mark
        last = archived is None or self.archived.is_last(run_id, archived)
        run.folded.is_partly_unread = not last
        if run.fold.weight > MOST_WEIGHT_BYTES:
            self._too_large.add(run_id)
        changes = run.fold.take_changes()
        if changes.has_arrival:
            run.empty_since = None
        return Folded(run_id, run, before, changes, chunk, archived)

    def _is_too_large(self, run_id: str) -> bool:
        if run_id in self._too_large:
            self._give_up(run_id, _TOO_MANY)
        return run_id in self._too_large

    def _give_up(self, run_id: str, reason: str) -> None:
        self.spools.refuse(run_id, reason)
        self.archived.give_up(run_id)

    def _take_up(self, run_id: str) -> OpenRun:
        run = self._ended.take(run_id)
        if run is None:
            folded = self._run_logs.load(run_id)
            run = OpenRun(folded, Fold(folded.state))
        self._open[run_id] = run
        self._rounds.hear([run_id])
        return run

    def _take_up_failed(self) -> None:
        for run_id in list(self._failed):
            before = self._open.pop(run_id, None)
            again = self._take_up(run_id)
            again.empty_since = before.empty_since if before else None
            if again.folded.run_no == 0 or again.folded.state.status != PROCESSING:
                del self._open[run_id]  # it is not open, or was never committed
            self._failed.remove(run_id)

    def _commit(self, folded: list[Folded]) -> None:
        if not folded:
            return
        self._failed.update(one.run_id for one in folded)
        with self.meter.commits.timed():
            self._run_logs.commit((one.run.folded, one.changes) for one in folded)
        for one in folded:
            self._failed.discard(one.run_id)
            self.spools.complaints.say_set_aside(one.run_id, one.changes.set_aside)
            one.run.folded.archived = None
            if one.archived:
                self.archived.note_folded(one.run_id, one.archived)
            elif one.chunk is not None:
                self.spools.note_folded(one.run_id, one.chunk)
            if one.run.folded.state.status != PROCESSING:
                self._open.pop(one.run_id, None)
                self._ended.keep(one.run_id, one.run, one.run.fold.weight)
        for one in folded:
            state, size_bytes = one.run.folded.state, len(one.chunk.lines) if one.chunk else 0
            now = standing(state)
            self.meter.count(one.before, now, state, size_bytes)
            tell(one.before, now, state)

    def _has_ended(self, run_id: str, run: OpenRun, now: float, wall_now: float) -> bool:
        if self.archived.is_unread(run_id):
            return False
        path, read_to = self.spools.path(run_id), self.spools.read_to(run_id)
        presence = look(path, read_to, run.folded.state, wall_now, self.idle_seconds)
        if run_id in self._too_large:
            return True  # it goes on for ever, perhaps, but not here
        if presence == "unfolded":
            return False
        if presence == "somebody":
            run.empty_since = None
            return False
        if run.empty_since is None:
            run.empty_since = now
        return presence == "over" or now - run.empty_since >= self.grace_seconds
