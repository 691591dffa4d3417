"""`steplog ls`: lists the runs, those that are not folded yet among them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.arguments import CommandParser, home, natural
from steplog.cli.moments import since, until
from steplog.cli.not_folded import not_folded
from steplog.cli.run_fields import duration_text, run_fields, status_text
from steplog.cli.terminal import align, sanitise
from steplog.documents import Items, write_json
from steplog.run_list import KILLED, STATUSES, Selection, list_runs, run_ids
from steplog.store_reader import NothingFolded
from steplog.times import show_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from steplog.store_reader import RunRow

_HEADER: Final = ("RUN", "STATUS", "TAG", "STARTED (UTC)", "DURATION", "OBSERVATIONS")
_SECONDS: Final = slice(19)

_EXAMPLE: Final = """\
The run that started last comes first. TIME is a date or a time of ISO 8601, UTC unless it says its
offset, or an age: 90m, 12h, 7d. A date is the whole day, so that --since and --until of the same
date select it; of times, --since is included and --until is not.

A run that is not folded yet has neither status nor tag, and none is listed where one of these is
asked for; its time is that of the last line in its spool. `steplogd run` folds what is tracked as
it comes, `steplogd drain` what is there.

example:
  steplog ls --since 7d --status fail --status killed
  steplog ls --since 2026-11-24 --until 2026-11-25T06:30+01:00 --limit 20
  steplog ls --tag nightly --json | jq -r '.[] | select(.observations == 0) | .run_id'"""


def run(argv: Sequence[str]) -> int:
    """Print the runs as a table, or as a JSON array of objects."""
    arguments = _parse(argv)
    selection = Selection(
        arguments.tag,
        frozenset(arguments.status),
        arguments.since,
        arguments.until,
        arguments.limit,
    )
    where = home()
    known, folded, trouble = _folded(where, selection)
    waiting = not_folded(where, known, selection)[: selection.limit]
    if selection.limit is not None:
        folded = folded[: selection.limit - len(waiting)]
    if arguments.json:
        found = (*map(_bare, waiting), *map(_object, folded))
        write_json(Items(found), sys.stdout.write)
        return 0
    if trouble:
        sys.stderr.write(f"steplog: {sanitise(trouble)}\n")
    rows = [_HEADER, *((run_id, "not folded yet") for run_id in waiting), *map(_row, folded)]
    sys.stdout.writelines(f"{line}\n" for line in align(rows))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("steplog ls", "List the runs.", _EXAMPLE)
    parser.add_argument("--tag", metavar="T", help="only the runs with this tag")
    parser.add_argument(
        "--status",
        metavar="S",
        type=_status,
        action="append",
        default=[],
        help=f"only the runs that are {', '.join(STATUSES[:-1])} or {KILLED}; may be repeated",
    )
    parser.add_argument("--since", metavar="TIME", type=since, help="that started then or later")
    parser.add_argument("--until", metavar="TIME", type=until, help="that started before")
    parser.add_argument("--limit", metavar="N", type=natural, help="the N newest of them")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")
    arguments = parser.parse_args(argv)
    if None not in (arguments.since, arguments.until) and arguments.until <= arguments.since:
        parser.error("--until is not after --since; exchange the two")
    return arguments


def _status(text: str) -> str:
    """Take a status as an argument, in capitals or not."""
    known = {status.upper(): status for status in STATUSES}
    if found := known.get(text.upper()):
        return found
    import difflib

    nearest = difflib.get_close_matches(text.upper(), known, n=1, cutoff=0.5)
    advice = f"did you mean {known[nearest[0]]}?" if nearest else f"known are {', '.join(STATUSES)}"
    raise argparse.ArgumentTypeError(f"there is no status {text[:80]!r}; {advice}")


def _folded(home: Path, selection: Selection) -> tuple[set[str], list[RunRow], str]:
    """Return the ids of all runs in the run log, and the runs asked for; or why there are none."""
    try:
        known = run_ids(home)
        runs = list_runs(home, selection)
    except NothingFolded as error:
        return set(), [], str(error)
    return known | {run.run_id for run in runs}, runs, ""  # some may have come in between


def _object(run: RunRow) -> dict[str, Any]:
    return {**run_fields(run), "parameters": run.parameters}


def _bare(run_id: str) -> dict[str, Any]:
    """Return the object of a run of which nothing is known but that it has a spool."""
    unknown = ("status", "killed", "message", "tag", "start_time", "end_time", "duration")
    return {"run_id": run_id, **dict.fromkeys((*unknown, "observations", "parameters"))}


def _row(run: RunRow) -> tuple[str, ...]:
    started = show_time(run.start_ts)[_SECONDS]
    tag = sanitise(run.tag) or "-"
    duration = (duration_text(run) or "-").partition(".")[0]
    return run.run_id, status_text(run), tag, started, duration, f"{run.observations:,}"
