"""The spools of a home: how far each is read and folded, and which cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from steplog.home import spool_folder, spool_path
from steplogd.intake.tail import list_spools, read_chunk

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.intake.tail import Chunk

_log = structlog.get_logger()


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
        self._unreadable: dict[str, str] = {}

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
        """Return the runs whose spool has grown since it was read last; raises as `sizes`."""
        return self._beyond(self.sizes())

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
            _log.warning("spool cannot be folded", run=run_id, reason=reason)

    def _beyond(self, sizes: dict[str, int]) -> list[str]:
        return [run_id for run_id, size in sizes.items() if size > self.read_to(run_id)]


def unfolded_bytes(home: Path, sizes: dict[str, int], offsets: dict[str, int]) -> dict[str, int]:
    """Return how many bytes of each spool are to be folded; a torn tail is none of them.

    Args:
        home: Where the spools lie.
        sizes: The size of each in bytes.
        offsets: How many bytes of each are folded.

    Raises:
        OSError: A spool cannot be read.
    """
    short = {run_id: size - offsets.get(run_id, 0) for run_id, size in sizes.items()}
    return {
        run_id: size
        for run_id, size in short.items()
        if size > 0 and _has_lines(spool_path(home, run_id), offsets.get(run_id, 0))
    }


def _has_lines(path: Path, offset: int) -> bool:
    try:
        return bool(read_chunk(path, offset).lines)
    except FileNotFoundError:
        return False
