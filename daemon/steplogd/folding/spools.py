"""The spools of a home: how far each is read and folded, and which cannot be read."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

from steplog.events import Malformed
from steplog.home import is_anothers, spool_folder, spool_path
from steplogd.folding.complaints import Complaints
from steplogd.intake.tail import read_chunk, scan

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from steplogd.intake.tail import Chunk

MOST_RESTARTS: Final = 20
"""How often one spool is read anew from its start, lest somebody who changes it keeps us busy."""

REPLACED: Final = (
    "the spool was truncated, replaced or changed before this place: it was read anew from its "
    "start, where lines without a number may count twice"
)

_TRIED_AGAIN: Final = 100
"""How many spools that could not be read are tried again in a sweep: anybody may plant thousands
where several users share a home."""


class Spools:
    """Knows how far each spool is read; to be used by one thread at a time.

    Attributes:
        left_bytes: How many bytes were seen that are not folded; no file is looked at for it, and
            any thread may read it.

    Args:
        home: Where they lie.
        checkpoints: How many bytes of each are folded and committed, and the mark of that place,
            by run id; an empty mark is not known.
    """

    def __init__(self, home: Path, checkpoints: Mapping[str, tuple[int, bytes]]) -> None:
        self._home = home
        self._checkpoints = dict(checkpoints)
        # Further by a torn tail, which is not folded.
        self._read_to = {run_id: offset for run_id, (offset, _) in checkpoints.items()}
        self._inodes: dict[str, int] = {}  # of those that were read since we started
        self._restarts: dict[str, int] = {}
        self._unreadable: dict[str, str] = {}  # the one that is to be tried next comes first
        self.complaints = Complaints()
        self._absent: set[str] = set()
        self._left: dict[str, int] = {}
        self.left_bytes = 0

    def path(self, run_id: str) -> Path:
        """Return where the spool of a run lies."""
        return spool_path(self._home, run_id)

    def read_to(self, run_id: str) -> int:
        """Return how many bytes of a spool are folded, or are a torn tail that was looked at."""
        return self._read_to.get(run_id, 0)

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of each spool.

        Raises:
            OSError: The folder cannot be read.
        """
        return {run_id: status.st_size for run_id, status in self._listed()}

    def grown(self) -> list[str]:
        """Return the runs whose spool is not what it was when it was read last, nor as long.

        Of those that could not be read then, some have their turn.

        Raises:
            OSError: The folder cannot be read.
        """
        self.complaints.begin_anew()
        self._absent.clear()  # who comes back is listed
        other: dict[str, None] = {}
        left: dict[str, int] = {}
        for run_id, status in self._listed():
            if not self._is_as_read(run_id, status):
                other[run_id] = None
                beyond = status.st_size - self.read_to(run_id)
                if beyond > 0 and run_id not in self._unreadable:
                    left[run_id] = beyond
        self._left, self.left_bytes = left, sum(left.values())
        waiting = (run_id for run_id in self._unreadable if run_id in other)
        again = list(itertools.islice(waiting, _TRIED_AGAIN))
        grown = [run_id for run_id in other if run_id not in self._unreadable]
        for run_id in again:
            self._unreadable[run_id] = self._unreadable.pop(run_id)
        return [*grown, *again]

    def unfolded(self, sizes: dict[str, int]) -> list[str]:
        """Return the runs that are not folded up to these sizes, but for unreadable spools."""
        passed_over = self._unreadable.keys() | self._absent
        return [run_id for run_id in self._beyond(sizes) if run_id not in passed_over]

    def backlog_bytes(self) -> int:
        """Return how many bytes of all spools are not folded yet; raises as `sizes`."""
        sizes = self.sizes()
        return sum(sizes[run_id] - self.read_to(run_id) for run_id in self._beyond(sizes))

    def unreadable(self) -> dict[str, str]:
        """Return the runs whose spool cannot be folded now, and why."""
        return self._unreadable.copy()

    def read(self, run_id: str) -> tuple[Chunk, list[Malformed]] | None:
        """Return what is to be folded next of a spool; None where there is nothing.

        What was folded before is known by its mark. Where that is not what lies before the
        checkpoint any more, the spool is read anew: nothing that stands in it is passed over, and
        the fold drops the numbered lines that it had.

        Returns:
            The chunk, and what is to be set aside with it: that the spool is not what it was.
        """
        try:
            return self._read(run_id)
        except FileNotFoundError:
            self._unreadable.pop(run_id, None)
            self._absent.add(run_id)
            self._note_left(run_id, 0)
        except OSError as error:
            self.refuse(run_id, f"{error.strerror or error}")
        return None

    def _read(self, run_id: str) -> tuple[Chunk, list[Malformed]] | None:
        offset, mark = self._checkpoints.get(run_id, (0, b""))
        chunk, notices = read_chunk(self.path(run_id), offset), []
        if chunk.size < offset or mark not in (b"", chunk.mark):
            if self._restarts.get(run_id, 0) == MOST_RESTARTS:
                self.refuse(run_id, "it was truncated or replaced too often; start steplogd again")
                return None
            notices = [Malformed(offset=offset, line=b"", reason=REPLACED)]
            chunk = read_chunk(self.path(run_id), 0)
        if chunk.offset == 0 and is_anothers(self.path(run_id), chunk.owner):
            reason = "the run is another user's, whose spool was archived"
            self.refuse(run_id, f"{reason}; user {chunk.owner} took its name: move the file away")
            return None
        if chunk.lines or notices:
            return chunk, notices
        self.note_folded(run_id, chunk)
        return None

    def note_folded(self, run_id: str, chunk: Chunk) -> None:
        """Note that a chunk is committed, or has nothing to be folded."""
        self._unreadable.pop(run_id, None)
        self._absent.discard(run_id)
        if chunk.offset < self._checkpoints.get(run_id, (0, b""))[0]:
            self._restarts[run_id] = self._restarts.get(run_id, 0) + 1
        self._checkpoints[run_id] = chunk.end, chunk.end_mark
        self._inodes[run_id] = chunk.inode
        # A torn tail was looked at too, and must not keep a run open until the next sweep.
        self._read_to[run_id] = chunk.end if chunk.has_more else max(chunk.end, chunk.size)
        self._note_left(run_id, max(chunk.size - self._read_to[run_id], 0))

    def left(self) -> dict[str, int]:
        """Return how many bytes of each were seen that are not folded, where there are any."""
        return self._left.copy()

    def forget(self, run_id: str) -> None:
        """Note that a spool is none any more, and that the next one of its name is a new one."""
        for known in (self._checkpoints, self._read_to, self._inodes, self._restarts):
            known.pop(run_id, None)

    def go_by(self, run_id: str, offset: int, mark: bytes) -> None:
        """Go on with a spool where the store has it folded by now."""
        self.forget(run_id)
        self._unreadable.pop(run_id, None)
        self._checkpoints[run_id], self._read_to[run_id] = (offset, mark), offset

    def refuse(self, run_id: str, reason: str) -> None:
        """Note that a spool cannot be folded now, and say so once."""
        self._note_left(run_id, 0)
        if self._unreadable.get(run_id) != reason:
            self._unreadable[run_id] = reason
            self.complaints.say("spool cannot be folded", run_id, reason=reason)

    def _note_left(self, run_id: str, size_bytes: int) -> None:
        self.left_bytes += size_bytes - self._left.pop(run_id, 0)
        if size_bytes:
            self._left[run_id] = size_bytes

    def _listed(self) -> Iterator[tuple[str, os.stat_result]]:
        return scan(spool_folder(self._home))

    def _is_as_read(self, run_id: str, status: os.stat_result) -> bool:
        return status.st_size == self.read_to(run_id) and status.st_ino == self._inodes.get(run_id)

    def _beyond(self, sizes: dict[str, int]) -> list[str]:
        return [run_id for run_id, size in sizes.items() if size > self.read_to(run_id)]


class Unfolded(NamedTuple):
    """What is to be folded: how many bytes of each spool, and why some cannot be, by run id."""

    size_bytes: dict[str, int]
    unreadable: dict[str, str]


def unfolded(
    home: Path, sizes: dict[str, int], checkpoints: Mapping[str, tuple[int, bytes]]
) -> Unfolded:
    """Return what is to be folded; a torn tail is not.

    Args:
        home: Where the spools lie.
        sizes: The size of each in bytes.
        checkpoints: How many bytes of each are folded, with the mark of that place.
    """
    found = Unfolded({}, {})
    for run_id, size in sizes.items():
        offset, _ = checkpoints.get(run_id, (0, b""))
        try:
            if size > offset and read_chunk(spool_path(home, run_id), offset).lines:
                found.size_bytes[run_id] = size - offset
        except FileNotFoundError:
            continue
        except OSError as error:
            found.unreadable[run_id] = f"{error.strerror or error}"
    return found
