"""What is said of a run's spool that is not there any more: where it went."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from steplog.errors import RunNotFound, StoreUnreadable
from steplog.home import archive_folder
from steplog.store_reader import find_run, snapshot

if TYPE_CHECKING:
    from pathlib import Path

_MOST_NAMED: Final = 5


def where_it_went(home: Path, run_id: str) -> str | None:
    """Say in one sentence what became of the spool of a run; None if nobody knows the run."""
    if paths := _archived(home, run_id):
        is_compressed = any(path.name.endswith(".gz") for path in paths)
        what, how = ("archived and compressed", "zcat -f") if is_compressed else ("archived", "cat")
        names = " ".join(shlex.quote(str(path)) for path in paths[:_MOST_NAMED])
        return (
            f"the spool of run {run_id} was {what}: "
            f"`{how} {names}` prints it, `steplog show {run_id}` its run log"
        )
    if _is_in_run_log(home, run_id):
        return (
            f"the spool of run {run_id} was removed when it had been kept long enough; "
            f"`steplog show {run_id}` prints its run log"
        )
    return None


def _archived(home: Path, run_id: str) -> list[Path]:
    is_one = re.compile(rf"{re.escape(run_id)}\.([1-9][0-9]*)\.jsonl(\.gz)?").fullmatch
    try:
        entries = list(archive_folder(home).iterdir())
    except OSError:  # there is none, or it is not for this user to see
        return []
    found = {int(match[1]): path for path in entries if (match := is_one(path.name))}
    return [found[number] for number in sorted(found)]


def _is_in_run_log(home: Path, run_id: str) -> bool:
    try:
        with snapshot(home) as connection:
            find_run(connection, run_id)
    except (RunNotFound, StoreUnreadable):
        return False
    return True
