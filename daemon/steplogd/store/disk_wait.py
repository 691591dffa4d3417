"""Whether a thread waits for a disk: a slow one is no standstill, and a kill would mend nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_THREADS: Final = Path("/proc/self/task")
_UNINTERRUPTIBLE: Final = b" D "


def waits_for_disk(thread: int) -> bool:
    """Tell whether a thread of this process, by its native id, is in uninterruptible sleep now.

    So it is while the kernel reads, writes or flushes for it, here or at a file server.
    """
    try:
        stat = (_THREADS / str(thread) / "stat").read_bytes()
    except OSError:  # it has ended
        return False
    return stat[stat.rfind(b")") + 1 :].startswith(_UNINTERRUPTIBLE)
