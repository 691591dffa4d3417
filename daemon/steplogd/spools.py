"""The spools of a home: how far each is read and folded, and which cannot be read."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

from steplog.home import spool_folder, spool_path
from steplogd.complaints import Complaints
from steplogd.intake.tail import list_spools, read_chunk

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.intake.tail import Chunk

_TRIED_AGAIN: Final = 100
"""How many spools that could not be read are tried again in a sweep: anybody may plant thousands
where several users share a home."""


class Spools:
    """Knows how far each spool is read; to be used by one thread at a time.

    Args:
        home: Where they lie.
        offsets: How many bytes of each are folded and committed, by run id.
    """

    def __init__(self, home: Path, offsets: dict[str, int]) -> None:
        self._home = home
        self._offsets = offsets
        self._read_to = offsets.copy()  # further by a torn tail, which is not folded
        self._unreadable: dict[str, str] = {}  # the one that is to be tried next comes first
        self.complaints = Complaints()

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
        return dict(list_spools(spool_folder(self._home)))

    def grown(self) -> list[str]:
        """Return the runs whose spool has grown since it was read last; raises as `sizes`.

        Of those that could not be read then, some have their turn.
        """
        self.complaints.begin_anew()
        beyond = dict.fromkeys(self._beyond(self.sizes()))
        grown = [run_id for run_id in beyond if run_id not in self._unreadable]
        waiting = (run_id for run_id in self._unreadable if run_id in beyond)
        again = list(itertools.islice(waiting, _TRIED_AGAIN))
        for run_id in again:
            self._unreadable[run_id] = self._unreadable.pop(run_id)
        return [*grown, *again]

    def unfolded(self, sizes: dict[str, int]) -> list[str]:
        """Return the runs that are not folded up to these sizes, but for unreadable spools."""
        return [run_id for run_id in self._beyond(sizes) if run_id not in self._unreadable]

    def backlog_bytes(self) -> int:
        """Return how many bytes of all spools are not folded yet; raises as `sizes`."""
        sizes = self.sizes()
        return sum(sizes[run_id] - self.read_to(run_id) for run_id in self._beyond(sizes))

    def unreadable(self) -> dict[str, str]:
        """Return the runs whose spool cannot be folded now, and why."""
        return self._unreadable.copy()

    def read(self, run_id: str) -> Chunk | None:
        """Return what is to be folded next of a spool; None where there is nothing."""
        try:
            chunk = read_chunk(self.path(run_id), self._offsets.get(run_id, 0))
        except FileNotFoundError:
            self._unreadable.pop(run_id, None)
            return None
        except OSError as error:
            self.refuse(run_id, f"{error.strerror or error}")
            return None
        if chunk.size < chunk.offset:
            self.refuse(run_id, "it is shorter than what was folded of it before")
            return None
        if not chunk.lines:
            self.note_folded(run_id, chunk)
            return None
        return chunk

    def note_folded(self, run_id: str, chunk: Chunk) -> None:
        """Note that a chunk is committed, or has nothing to be folded."""
        self._unreadable.pop(run_id, None)
        self._offsets[run_id] = chunk.end
        # A torn tail was looked at too, and must not keep a run open until the next sweep.
        self._read_to[run_id] = chunk.end if chunk.has_more else max(chunk.end, chunk.size)

    def refuse(self, run_id: str, reason: str) -> None:
        """Note that a spool cannot be folded now, and say so once."""
        if self._unreadable.get(run_id) != reason:
            self._unreadable[run_id] = reason
            self.complaints.say("spool cannot be folded", run_id, reason=reason)

    def _beyond(self, sizes: dict[str, int]) -> list[str]:
        return [run_id for run_id, size in sizes.items() if size > self.read_to(run_id)]


class Unfolded(NamedTuple):
    """What is to be folded: how many bytes of each spool, and why some cannot be, by run id."""

    size_bytes: dict[str, int]
    unreadable: dict[str, str]


def unfolded(home: Path, sizes: dict[str, int], offsets: dict[str, int]) -> Unfolded:
    """Return what is to be folded; a torn tail is not.

    Args:
        home: Where the spools lie.
        sizes: The size of each in bytes.
        offsets: How many bytes of each are folded.
    """
    found = Unfolded({}, {})
    for run_id, size in sizes.items():
        offset = offsets.get(run_id, 0)
        try:
            if size > offset and read_chunk(spool_path(home, run_id), offset).lines:
                found.size_bytes[run_id] = size - offset
        except FileNotFoundError:
            continue
        except OSError as error:
            found.unreadable[run_id] = f"{error.strerror or error}"
    return found
