"""The line from spool to run log: tail, decode, fold and commit, a bounded piece at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from steplog.decoding import decode
from steplog.home import spool_folder, spool_path

from steplogd.core.fold import Fold
from steplogd.core.state import PROCESSING, Changes
from steplogd.intake.tail import CHUNK_BYTES, has_writer, list_spools, read_chunk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from steplogd.intake.tail import Chunk
    from steplogd.store.run_logs import FoldedRun, RunLogs

PASS_BYTES: Final = 4 * CHUNK_BYTES
"""How much one pass folds at most, over all spools: what one transaction holds."""

_log = structlog.get_logger()


class _OpenRun(msgspec.Struct):
    """A run between two passes.

    Attributes:
        folded: The run as it is committed.
        fold: What folds on from there.
        empty_since: Since when nobody is in it; None while somebody is.
    """

    folded: FoldedRun
    fold: Fold
    empty_since: float | None = None


class Pass(msgspec.Struct):
    """What one pass did: runs whose log grew or changed, and runs with more bytes to fold."""

    advanced: set[int] = set()
    unfinished: set[str] = set()


class Line:
    """Takes spools to committed run logs; to be used by one thread at a time.

    Every event is in the run log exactly once, whatever is killed: it is committed together with
    the checkpoint, and what was not committed is read again.

    Args:
        home: Where the spools lie.
        run_logs: The store.
        grace_seconds: How long nobody is in a run before it ends.
        idle_seconds: How long a run of visitors alone is silent before it ends.
    """

    def __init__(
        self, home: Path, run_logs: RunLogs, grace_seconds: float, idle_seconds: float
    ) -> None:
        self._home = home
        self._run_logs = run_logs
        self._grace_seconds = grace_seconds
        self._idle_seconds = idle_seconds
        self._offsets = run_logs.checkpoints()
        self._read_to = self._offsets.copy()  # further by a torn tail, which is not folded
        self._open: dict[str, _OpenRun] = {}
        self._failed: set[str] = set()
        self._unreadable: dict[str, str] = {}
        for run_id in run_logs.open_runs():
            self._take_up(run_id)

    def sweep(self) -> set[str]:
        """Return the runs whose spool has grown since it was read last.

        Raises:
            OSError: The folder cannot be read.
        """
        spools = list_spools(spool_folder(self._home))
        return {run_id for run_id, size in spools if size > self._read_to.get(run_id, 0)}

    def unfolded(self) -> set[str]:
        """Return the same without the runs whose spool cannot be read."""
        return self.sweep() - self._unreadable.keys()

    def backlog_bytes(self) -> int:
        """Return how many bytes of all spools are not folded yet."""
        spools = list_spools(spool_folder(self._home))
        return sum(max(0, size - self._read_to.get(run_id, 0)) for run_id, size in spools)

    def run(self, run_ids: Iterable[str]) -> Pass:
        """Fold what is new in these runs' spools, and commit it; a fair piece of each.

        Raises:
            StoreError: Nothing was committed; the same call may be made again.
        """
        self._take_up_failed()
        done = Pass()
        budget = PASS_BYTES
        folded: list[tuple[str, _OpenRun, Changes]] = []
        for run_id in run_ids:
            if budget <= 0:
                done.unfinished.add(run_id)
                continue
            chunk = self._read(run_id)
            if chunk is None:
                continue
            if not chunk.lines:
                self._read_to[run_id] = chunk.size
                continue
            budget -= len(chunk.lines)
            folded.append((run_id, *self._fold(run_id, chunk)))
            if chunk.has_more:
                done.unfinished.add(run_id)
        self._commit(folded)
        done.advanced = {run.folded.run_no for _, run, _ in folded}
        return done

    def end_runs(self, now: float, wall_now: float) -> set[int]:
        """End the runs that nobody has been in for the grace period.

        Args:
            now: A clock that never jumps, in seconds.
            wall_now: The time of day, in seconds since the epoch.

        Returns:
            The numbers of the runs that ended.

        Raises:
            StoreError: Nothing was committed; the same call may be made again.
        """
        self._take_up_failed()
        ended: list[tuple[str, _OpenRun, Changes]] = []
        for run_id, run in self._open.items():
            if self._has_ended(run_id, run, now, wall_now):
                run.fold.end_run()
                ended.append((run_id, run, run.fold.take_changes()))
        self._commit(ended)
        for run_id, run, _ in ended:
            _log_end(run_id, run)
        return {run.folded.run_no for _, run, _ in ended}

    def is_anyone_leaving(self) -> bool:
        """Tell whether a run that nobody is in waits for the end of its grace period."""
        return any(run.empty_since is not None for run in self._open.values())

    def open_count(self) -> int:
        """Return how many runs go on."""
        return len(self._open)

    def _read(self, run_id: str) -> Chunk | None:
        try:
            chunk = read_chunk(spool_path(self._home, run_id), self._offsets.get(run_id, 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn_once(run_id, f"{error.strerror or error}")
            return None
        if chunk.size < chunk.offset:
            self._warn_once(run_id, "it is shorter than what was folded of it before")
            return None
        self._unreadable.pop(run_id, None)
        return chunk

    def _warn_once(self, run_id: str, reason: str) -> None:
        if self._unreadable.get(run_id) != reason:
            self._unreadable[run_id] = reason
            _log.warning("spool cannot be read", run=run_id, reason=reason)

    def _fold(self, run_id: str, chunk: Chunk) -> tuple[_OpenRun, Changes]:
        run = self._open.get(run_id) or self._take_up(run_id)
        events = decode(chunk.lines, chunk.offset)
        run.fold.apply(events, chunk.modified_ts)
        run.folded.offset = chunk.end
        changes = run.fold.take_changes()
        for malformed in changes.set_aside[:1]:
            _log.warning(
                "line set aside", run=run_id, offset=malformed.offset, reason=malformed.reason[:200]
            )
        return run, changes

    def _take_up(self, run_id: str) -> _OpenRun:
        folded = self._run_logs.load(run_id)
        run = _OpenRun(folded, Fold(folded.state))
        self._open[run_id] = run
        return run

    def _take_up_failed(self) -> None:
        for run_id in list(self._failed):
            self._take_up(run_id)
            self._failed.remove(run_id)

    def _commit(self, folded: list[tuple[str, _OpenRun, Changes]]) -> None:
        if not folded:
            return
        try:
            self._run_logs.commit((run.folded, changes) for _, run, changes in folded)
        except BaseException:
            self._failed.update(run_id for run_id, _, _ in folded)  # they are ahead of the store
            raise
        for run_id, run, _ in folded:
            self._offsets[run_id] = run.folded.offset
            self._read_to[run_id] = max(run.folded.offset, self._read_to.get(run_id, 0))
            if run.folded.state.status != PROCESSING:
                self._open.pop(run_id, None)

    def _has_ended(self, run_id: str, run: _OpenRun, now: float, wall_now: float) -> bool:
        state = run.folded.state
        path = spool_path(self._home, run_id)
        try:
            status = path.stat()
            if status.st_size > self._read_to.get(run_id, 0):
                return False  # first there is more to be folded
            if not state.members():
                return wall_now - status.st_mtime >= self._idle_seconds
            if state.is_anybody_in() and has_writer(path):
                run.empty_since = None
                return False
        except OSError:  # the spool is gone, and with it whoever could have written
            pass
        if run.empty_since is None:
            run.empty_since = now
        return now - run.empty_since >= self._grace_seconds


def _log_end(run_id: str, run: _OpenRun) -> None:
    state = run.folded.state
    _log.info(
        "run ended",
        run=run_id,
        status=state.status,
        observations=state.position,
        reason=state.message or None,
    )
