"""The import of run logs, one by one: each as a whole, or skipped with a reason."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from steplog.importing.conversion import spool_lines
from steplog.importing.placing import place, standing
from steplog.importing.shape import NoRunLog, RunLogMalformed, as_run_log
from steplog.importing.sources import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplog.importing.placing import Standing

Result = Literal["imported", "present", "skipped"]

_TAKEN: Final = (
    "a run of this id with other content is there already; "
    "set STEPLOG_HOME to another folder to import it there"
)
_WRITER_DIGITS: Final = 12


class Outcome(msgspec.Struct, frozen=True):
    """What became of a run log; `reason` says why it was skipped."""

    path: str
    run_id: str | None
    result: Result
    reason: str = ""


class Importer:
    """Imports run logs into a home; may be run again over the same ones.

    Args:
        home: Where to; made when absent.
        is_rehearsal: Do all but write.
    """

    def __init__(self, home: Path, *, is_rehearsal: bool = False) -> None:
        self._home = home
        self._is_rehearsal = is_rehearsal
        self._rehearsed: dict[str, str] = {}

    def take(self, path: Path) -> Outcome:
        """Import one run log, of a file or a folder.

        Raises:
            NoRunLog: Something else lies there.
            StoreUnreadable, OSError: The home cannot be used.
        """
        run_id = None
        try:
            document, modified_ts = _read(path)
            run = as_run_log(document)
            run_id = run.run_id
            w = _writer_id(document)
            result = self._put(run_id, w, spool_lines(run, w, modified_ts))
        except NoRunLog:
            raise
        except RunLogMalformed as error:
            return Outcome(str(path), run_id, "skipped", str(error))
        except RecursionError:
            return Outcome(str(path), run_id, "skipped", "it is nested too deeply")
        return Outcome(str(path), run_id, result, _TAKEN if result == "skipped" else "")

    def _put(self, run_id: str, w: str, lines: Iterator[bytes]) -> Result:
        found = self._standing(run_id, w)
        if found != "absent":
            return "present" if found == "same" else "skipped"
        if self._is_rehearsal:
            for _ in lines:  # each may show that the run log is malformed
                pass
            self._rehearsed[run_id] = w
            return "imported"
        try:
            place(self._home, run_id, lines)
        except FileExistsError:  # somebody was faster
            return "present" if self._standing(run_id, w) == "same" else "skipped"
        return "imported"

    def _standing(self, run_id: str, w: str) -> Standing:
        if run_id in self._rehearsed:
            return "same" if self._rehearsed[run_id] == w else "other"
        return standing(self._home, run_id, w)


def _read(path: Path) -> tuple[Any, int]:
    try:
        return read_document(path)
    except OSError as error:
        raise RunLogMalformed(f"it cannot be read: {error.strerror or error}") from error


def _writer_id(document: Any) -> str:
    """Return an id that tells the same content, when it is imported again, from another one."""
    content = json.dumps(document, separators=(",", ":")).encode()
    return hashlib.sha256(content).hexdigest()[:_WRITER_DIGITS]
