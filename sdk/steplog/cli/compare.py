"""`steplog compare`: shows two or more runs side by side, and marks what differs."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from steplog.cli.arguments import CommandParser, home, run_id
from steplog.cli.compare_table import table
from steplog.cli.run_fields import run_fields, status_text
from steplog.cli.terminal import is_coloured
from steplog.comparison import Comparison, compare
from steplog.documents import write_json
from steplog.summaries import summarise

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from steplog.comparison import Compared
    from steplog.store_reader import RunRow

_EXAMPLE: Final = """\
An asterisk marks what is not the same in all runs: another value, another type (42 is not 42.0), or
none at all (-). Task parameters are those of the last attempt. Of a metric there are the value that
was tracked last, the smallest and the largest finite number, and at how many steps it was tracked;
the last alone of what no run tracked more than once. Runs that do not fit the terminal side by
side follow below.

JSON is one object: `runs`, as `steplog ls --json` has them, in the order asked for; `parameters`
(each with task, null for the run's own, and name) and `metrics` (each with task and key), both with
`values` by run id, without the runs that have none. Each has `differs`; that of a run says that
its status or its tag is not the one of the first run.

example:
  steplog compare baseline wider-net --differing
  steplog compare a b --json | jq '.metrics[] | select(.key == "loss") | .values.b.min'"""


def run(argv: Sequence[str]) -> int:
    """Print the runs as a table or as one JSON object; that they differ is no failure."""
    arguments = _parse(argv)
    where = home()
    found = compare([summarise(where, name) for name in arguments.runs])
    if arguments.differing:
        found = _differing(found)
    if arguments.json:
        write_json(_document(found), sys.stdout.write)
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = table(found, width, is_coloured(sys.stdout), arguments.differing)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("steplog compare", "Show runs side by side.", _EXAMPLE)
    parser.add_argument("runs", nargs="+", type=run_id, metavar="RUN", help="two runs or more")
    parser.add_argument("--differing", action="store_true", help="leave out what is the same")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_intermixed_args(argv)
    if len(arguments.runs) < 2:
        parser.error("one run cannot be compared; name two or more")
    for name in arguments.runs:
        if arguments.runs.count(name) > 1:
            parser.error(f"run {name} is named twice; name each run once")
    return arguments


def _differing(found: Comparison) -> Comparison:
    parameters, metrics = (
        [one for one in compared if one.differs] for compared in (found.parameters, found.metrics)
    )
    return Comparison(found.runs, parameters, metrics)


def _document(found: Comparison) -> dict[str, Any]:
    ids = [run.run_id for run in found.runs]
    return {
        "runs": [
            {**run_fields(run), "differs": _state(run) != _state(found.runs[0])}
            for run in found.runs
        ],
        "parameters": [_object(one, "name", ids) for one in found.parameters],
        "metrics": [_object(one, "key", ids) for one in found.metrics],
    }


def _state(run: RunRow) -> tuple[str, str]:
    return status_text(run), run.tag


def _object(one: Compared, name: str, ids: list[str]) -> dict[str, Any]:
    values = zip(ids, one.values, strict=True)
    return {
        "task": ".".join(one.task) or None,
        name: one.name,
        "differs": one.differs,
        "values": {run_id: value for run_id, value in values if value is not UNSET},
    }
