"""Runs that are not folded yet: those of which there is nothing but a spool."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from steplog.errors import InvalidName
from steplog.home import spool_folder
from steplog.names import check_run_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from steplog.run_list import Selection

_SUFFIX: Final = ".jsonl"


def not_folded(home: Path, folded: Collection[str], selection: Selection) -> list[str]:
    """Return the ids of runs that have a spool alone, the one that was appended to last first.

    The time of that is all that is known of them: it is what the selection's times go by, and
    where a tag or a status is asked for there are none.
    """
    if selection.tag is not None or selection.statuses:
        return []
    found = {
        run_id: ts
        for run_id, ts in _spools(spool_folder(home))
        if run_id not in folded and _is_within(ts, selection)
    }
    return sorted(found, key=lambda run_id: found[run_id], reverse=True)


def _is_within(ts: int, selection: Selection) -> bool:
    is_late_enough = selection.since_ts is None or selection.since_ts <= ts
    return is_late_enough and (selection.until_ts is None or ts < selection.until_ts)


def _spools(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the run id of each spool, and when it was appended to last."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return
    for path in paths:
        if path.name.endswith(_SUFFIX):
            try:
                run_id = check_run_id(path.name.removesuffix(_SUFFIX))
                status = path.lstat()
            except (InvalidName, OSError):  # something else lay there, or is gone
                continue
            if stat.S_ISREG(status.st_mode):
                yield run_id, status.st_mtime_ns // 1000
