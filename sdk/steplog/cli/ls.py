"""`steplog ls`: lists the runs, those that are not folded yet among them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.arguments import CommandParser, home
from steplog.cli.terminal import align, sanitise
from steplog.documents import Items, write_json
from steplog.errors import InvalidName
from steplog.home import spool_folder
from steplog.names import check_run_id
from steplog.store_reader import NothingFolded
from steplog.summaries import list_runs
from steplog.times import show_duration, show_time

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from steplog.store_reader import RunRow

_SUFFIX: Final = ".jsonl"
_HEADER: Final = ("RUN", "STATUS", "TAG", "STARTED (UTC)", "DURATION", "OBSERVATIONS")
_SECONDS: Final = slice(19)

_EXAMPLE: Final = """\
The run that started last comes first. A run that is not folded yet has no status: `steplogd run`
folds what is tracked as it comes, `steplogd drain` what is there.

example:
  steplog ls
  steplog ls --tag nightly --json | jq -r '.[] | select(.status == "FAIL") | .run_id'"""


def run(argv: Sequence[str]) -> int:
    """Print the runs as a table, or as a JSON array of objects."""
    arguments = _parser().parse_args(argv)
    where = home()
    folded, trouble = _folded(where, arguments.tag)
    waiting = [] if arguments.tag is not None else _not_folded(where, folded)
    if arguments.json:
        found = (*map(_bare, waiting), *map(_object, folded))
        write_json(Items(found), sys.stdout.write)
        return 0
    if trouble:
        sys.stderr.write(f"steplog: {sanitise(trouble)}\n")
    rows = [_HEADER, *((run_id, "not folded yet") for run_id in waiting), *map(_row, folded)]
    sys.stdout.writelines(f"{line}\n" for line in align(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("steplog ls", "List the runs.", _EXAMPLE)
    parser.add_argument("--tag", metavar="T", help="only the runs with this tag")
    parser.add_argument("--json", action="store_true", help="print a JSON array of objects")
    return parser


def _folded(home: Path, tag: str | None) -> tuple[list[RunRow], str]:
    """Return the runs in the run log, or none, and the sentence that says why."""
    try:
        return list_runs(home, tag), ""
    except NothingFolded as error:
        return [], str(error)


def _not_folded(home: Path, folded: Sequence[RunRow]) -> list[str]:
    """Return the ids of runs that have a spool alone, the one that was appended to last first."""
    known = {row.run_id for row in folded}
    spools = {run_id: path for run_id, path in _spools(spool_folder(home)) if run_id not in known}
    return sorted(spools, key=lambda run_id: spools[run_id].stat().st_mtime_ns, reverse=True)


def _spools(folder: Path) -> Iterator[tuple[str, Path]]:
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return
    for path in paths:
        if path.name.endswith(_SUFFIX):
            try:
                yield check_run_id(path.name.removesuffix(_SUFFIX)), path
            except InvalidName:  # something else lies there
                continue


def _object(run: RunRow) -> dict[str, Any]:
    duration = None if run.end_ts is None else show_duration(run.start_ts, run.end_ts)
    return {
        "run_id": run.run_id,
        "status": run.status,
        "killed": run.killed,
        "message": run.message,
        "tag": run.tag,
        "start_time": show_time(run.start_ts),
        "end_time": None if run.end_ts is None else show_time(run.end_ts),
        "duration": duration,
        "observations": run.observations,
        "parameters": run.parameters,
    }


def _bare(run_id: str) -> dict[str, Any]:
    """Return the object of a run of which nothing is known but that it has a spool."""
    unknown = ("status", "killed", "message", "tag", "start_time", "end_time", "duration")
    return {"run_id": run_id, **dict.fromkeys((*unknown, "observations", "parameters"))}


def _row(run: RunRow) -> tuple[str, ...]:
    status = f"{run.status} (killed)" if run.killed else run.status
    duration = "-" if run.end_ts is None else show_duration(run.start_ts, run.end_ts)
    started = show_time(run.start_ts)[_SECONDS]
    tag = sanitise(run.tag) or "-"
    return run.run_id, status, tag, started, duration.partition(".")[0], f"{run.observations:,}"
