"""`steplog track`: appends one line to the spool of a run, as a visitor."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.arguments import CommandParser, home, int64, run_id
from steplog.encoding import check_size, prepare
from steplog.environment import named_task, show_task
from steplog.errors import SteplogError
from steplog.events import DEFAULT_TASK
from steplog.losses import stand_in_sentence
from steplog.names import check_run_id
from steplog.run import RUN_ID_VARIABLES
from steplog.spool import append_line
from steplog.value_text import parse_value

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_EXAMPLE: Final = """\
VALUE is a number, a list or an object where it reads as one in JSON, and a text otherwise: true,
NaN and 1_000 are texts. The run neither starts nor ends by it.

example:
  steplog track --run-id my-run --task train --step 3 loss=0.25 'sizes=[64, 32]' note=warm-up
  STEPLOG_RUN_ID=my-run steplog track accuracy=0.93"""


def run(argv: Sequence[str]) -> int:
    """Append the line; on return it is in the file."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    values = _values(parser, arguments.values)
    line = _line(arguments.task, arguments.step, values)
    run_id = arguments.run_id or _run_id_from_environment()
    own_id = append_line(home(), run_id, line)
    if own_id != run_id:
        sys.stderr.write(f"steplog: {stand_in_sentence(run_id, own_id)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("steplog track", "Append values to the spool of a run.", _EXAMPLE)
    parser.add_argument("values", nargs="+", metavar="KEY=VALUE", help="what was observed")
    parser.add_argument("--step", type=int64, default=0, metavar="N", help="of the task (0)")
    parser.add_argument("--run-id", type=run_id, metavar="ID", help="the run ($STEPLOG_RUN_ID)")
    parser.add_argument("--task", metavar="NAME", help="the task ($STEPLOG_TASK, else main)")
    return parser


def _values(parser: argparse.ArgumentParser, pairs: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not key or not sign:
            parser.error(f"{pair[:80]!r} is not KEY=VALUE")
        if key in values:
            parser.error(f"{key[:80]!r} is given twice")
        try:
            values[key] = parse_value(value)
        except RecursionError:
            parser.error(f"the value of {key[:80]!r} is nested too deeply")
    return values


def _line(task: str | None, step: int, values: dict[str, Any]) -> bytes:
    """Return the line of a visitor, which has no writer id and no number.

    Raises:
        SteplogError: It cannot be a line.
    """
    path = (task,) if task else named_task() or (DEFAULT_TASK,)
    head = f'{{"t":"track","ts":{time.time_ns() // 1000},"task":{show_task(path)},"step":{step}'
    try:
        return check_size(b'%b,"values":%b}\n' % (head.encode(), bytes(prepare(values))))
    except ValueError as error:
        raise SteplogError(f"nothing was tracked, for {error}; track less at once") from None


def _run_id_from_environment() -> str:
    named = next((name for name in RUN_ID_VARIABLES if os.environ.get(name)), None)
    if named is None:
        raise SteplogError(
            "it is not said which run to track to; give --run-id, or set STEPLOG_RUN_ID"
        )
    return check_run_id(os.environ[named])
