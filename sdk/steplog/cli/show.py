"""`steplog show`: shows one run, in short or as the whole document."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.arguments import CommandParser, home, positive, run_id
from steplog.cli.attempt_text import attempt_rows, ranges
from steplog.cli.run_fields import duration_text, status_text
from steplog.cli.set_aside_text import gaps_text, set_aside_lines, set_aside_object
from steplog.cli.terminal import align, counted, sanitise, show_pairs, show_short
from steplog.documents import write_json
from steplog.run_log import write_run_log
from steplog.set_aside import read_set_aside
from steplog.summaries import summarise
from steplog.times import show_time

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from steplog.set_aside import Gap, SetAside
    from steplog.store_reader import RunRow
    from steplog.summaries import SeriesSummary, TaskSummary

_VALUE_CHARACTERS: Final = 40
_TEXT_CHARACTERS: Final = 200
_HEADER: Final = ("  KEY", "COUNT", "LAST STEP", "LAST VALUE", "MIN", "MAX")

_EXAMPLE: Final = """\
The run log is what the daemon has folded so far; times are UTC. Attempts of a task are one: the
later value of a key and step counts. --attempt shows one of them alone, and what was tracked in it;
tasks without it are left out. --set-aside shows what of the spool is no event: torn lines, garbage,
the place where it was truncated or replaced; and which numbered lines of which writer are missing.

example:
  steplog show my-run
  steplog show my-run --attempt 1
  steplog show my-run --set-aside
  steplog show my-run --json | jq .steps.train.user_defined_metrics.loss"""


def run(argv: Sequence[str]) -> int:
    """Print the run."""
    arguments = _parser().parse_args(argv)
    where = home()
    if arguments.set_aside:
        return _show_set_aside(read_set_aside(where, arguments.run), as_json=arguments.json)
    if arguments.json:
        write_run_log(where, arguments.run, sys.stdout.write, arguments.attempt)
        return 0
    summary = summarise(where, arguments.run, arguments.attempt)
    gaps = read_set_aside(where, arguments.run).gaps if summary.run.gaps else []
    sys.stdout.writelines(f"{line}\n" for line in align(list(_about(summary.run, gaps))))
    for task in summary.tasks:
        sys.stdout.writelines(f"{line}\n" for line in _task_lines(task, arguments.attempt))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("steplog show", "Show a run.", _EXAMPLE)
    parser.add_argument("run", type=run_id, metavar="RUN", help="the run")
    parser.add_argument("--attempt", type=positive, metavar="N", help="only this attempt of tasks")
    parser.add_argument("--set-aside", action="store_true", help="what of its spool is no event")
    parser.add_argument("--json", action="store_true", help="print it as one JSON document")
    return parser


def _show_set_aside(found: SetAside, *, as_json: bool) -> int:
    if as_json:
        write_json(set_aside_object(found), sys.stdout.write)
    else:
        sys.stdout.writelines(f"{line}\n" for line in set_aside_lines(found))
    return 0


def _about(run: RunRow, gaps: list[Gap]) -> Iterator[tuple[str, str]]:
    yield "run", run.run_id
    yield "status", f"{status_text(run)}  {sanitise(run.message)}"
    if run.tag:
        yield "tag", sanitise(run.tag)
    yield "started", show_time(run.start_ts)
    if run.end_ts is not None:
        yield "ended", show_time(run.end_ts)
        yield "duration", duration_text(run) or ""
    yield "observations", f"{run.observations:,}"
    if run.parameters:
        yield "parameters", show_pairs(run.parameters, _TEXT_CHARACTERS)
    yield from _trouble(run, gaps)


def _trouble(run: RunRow, gaps: list[Gap]) -> Iterator[tuple[str, str]]:
    counts = {
        "lost": (run.lost, "call", "that could not be recorded"),
        "gaps": (run.gaps, "numbered line", f"missing{gaps_text(gaps)}"),
        "unknown": (run.unknown, "line", "of a kind that the daemon does not know"),
        "malformed": (
            run.malformed,
            "piece",
            f"of the spool that can be no event: steplog show {run.run_id} --set-aside",
        ),
    }
    for name, (count, noun, what) in counts.items():
        if count:
            yield name, f"{counted(count, noun)} {what}"


def _task_lines(task: TaskSummary, attempt: int | None) -> Iterator[str]:
    attempts = counted(len(task.attempts), "attempt")
    shown = attempts if attempt is None else f"showing attempt {attempt}"
    told = f"  {sanitise(task.message)}" if task.message else ""
    yield ""
    yield f"task {sanitise('.'.join(task.path))}  {task.status}, {shown}{told}"
    has_several = len(task.attempts) > 1
    if has_several or attempt is not None:
        yield from align(list(attempt_rows(task.attempts)))
        if task.series:
            yield ""
    if task.series:
        yield from align(list(_series_rows(task.series, has_several)))


def _series_rows(found: list[SeriesSummary], has_several: bool) -> Iterator[tuple[str, ...]]:
    """Yield a line for each series; with several attempts, it says which of them tracked it."""
    yield (*_HEADER, "ATTEMPTS") if has_several else _HEADER
    for series in found:
        row = _series_row(series)
        yield (*row, ranges(series.attempts)) if has_several else row


def _series_row(series: SeriesSummary) -> tuple[str, ...]:
    numbers: tuple[Any, ...] = (series.minimum, series.maximum)
    low, high = ("-" if n is None else show_short(n, _VALUE_CHARACTERS) for n in numbers)
    last = show_short(series.last_value, _VALUE_CHARACTERS)
    return f"  {sanitise(series.key)}", f"{series.count:,}", str(series.last_step), last, low, high
