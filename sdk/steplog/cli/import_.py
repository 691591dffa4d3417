"""`steplog import`: brings in run logs that the original (magnus, later runnable) wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.arguments import CommandParser, home
from steplog.cli.terminal import sanitise
from steplog.documents import write_json
from steplog.importing.importer import Importer, Outcome
from steplog.importing.shape import NoRunLog
from steplog.importing.sources import find_run_logs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

_EXAMPLE: Final = """\
A run log is a file, as the store `file-system` writes it, or a folder of pieces, as `chunked-fs`
does. A folder is searched for both, six folders deep; links in it are not followed. Each run comes
in whole or not at all. One that is there already is left as it is; what is malformed is named and
skipped, and the exit status is then 1.

Times are taken as they are written. A run that had not ended becomes one that was killed: FAIL.
What else cannot come back as it was stands in FORMAT.md. `steplogd run` folds imported runs and
sends them to its trackers as any other; so does `steplogd drain`.

example:
  steplog import .run_log_store
  steplogd drain && steplog ls"""


def run(argv: Sequence[str]) -> int:
    """Import run logs; returns 0 when all of them are in the home then, 1 when one was skipped."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if "" in arguments.paths:
        parser.error("a path is empty: is a variable not set?")
    importer = Importer(home(), is_rehearsal=arguments.dry_run)
    outcomes = [outcome for path in arguments.paths for outcome in _take_all(importer, Path(path))]
    if arguments.json:
        write_json(_report(outcomes), sys.stdout.write)
    else:
        sys.stdout.write(f"{_summary(outcomes, is_rehearsal=arguments.dry_run)}\n")
    return 1 if any(outcome.result == "skipped" for outcome in outcomes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("steplog import", "Bring in run logs of magnus and runnable.", _EXAMPLE)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a run log, or a folder with some")
    parser.add_argument("--dry-run", action="store_true", help="say what would be, and write none")
    parser.add_argument("--json", action="store_true", help="print what became of each as JSON")
    return parser


def _take_all(importer: Importer, path: Path) -> Iterator[Outcome]:
    """Import what is found at a path; other JSON in a folder is passed over in silence."""
    found = list(find_run_logs(path))
    passed_over = 0
    for number, one in enumerate(found, 1):
        _show_progress(number, len(found))
        try:
            outcome = importer.take(one)
        except NoRunLog as error:
            if one == path:  # it was named
                outcome = Outcome(str(one), None, "skipped", str(error))
            else:
                passed_over += 1
                continue
        yield _told(outcome)
    if passed_over == len(found):
        yield _told(Outcome(str(path), None, "skipped", "no run log is in it"))


def _told(outcome: Outcome) -> Outcome:
    """Complain of a run log that is skipped."""
    if outcome.result == "skipped":
        path, reason = sanitise(outcome.path), sanitise(outcome.reason)
        sys.stderr.write(f"steplog: {path} is skipped: {reason}\n")
    return outcome


def _show_progress(number: int, total: int) -> None:
    """Count on a terminal, in a line that the next output overwrites."""
    if total > 1 and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[Kimporting {number:,} of {total:,}\r")


def _count(outcomes: Sequence[Outcome], result: str) -> int:
    return sum(outcome.result == result for outcome in outcomes)


def _summary(outcomes: Sequence[Outcome], *, is_rehearsal: bool) -> str:
    imported, present, skipped = (
        _count(outcomes, result) for result in ("imported", "present", "skipped")
    )
    verb = "would import" if is_rehearsal else "imported"
    there = f", {present:,} there already" if present else ""
    return f"{verb} {imported:,}{there}, skipped {skipped:,}"


def _report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what became of each run log, in the order in which they were found."""
    return {
        "imported": [outcome.run_id for outcome in outcomes if outcome.result == "imported"],
        "present": [outcome.run_id for outcome in outcomes if outcome.result == "present"],
        "skipped": [
            {"path": outcome.path, "run_id": outcome.run_id, "reason": outcome.reason}
            for outcome in outcomes
            if outcome.result == "skipped"
        ],
    }
