"""`steplog exec`: runs a command as a task of a run."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Final

from steplog.cli.arguments import CommandParser, run_id
from steplog.errors import SteplogError
from steplog.run import RUN_ID_VARIABLES, join_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_EXAMPLE: Final = """\
What the command prints is shown as it comes, and kept in the catalog of the run. Its exit status,
or the signal that ends it, is passed on. Within a command of the same run, the task stands below
that one's.

Variables named STEPLOG_TRACK_KEY, or STEPLOG_TRACK_KEY_STEP_3, are tracked: those that are set
before, and those that a script for sh, dash or bash exports, be it the command itself or one that
it runs as `sh FILE`, `bash FILE` or `./FILE`. A script for /bin/sh that is named in another way (by
a variable, by a program that is no shell) is not seen into; say `sh FILE` there. Nor is one that
sh or dash reads from stdin, what `sh -l`, `dash -l`, `bash -p` or `bash --posix` runs, and
what a subshell `( )` exports for itself.

What a script exports counts as tracked when that shell ends, and then comes after what it ran has
tracked. It may be missed where a signal ends a sh or dash below the command's own, where a handler
for EXIT exports and then exits by itself, and where bash hands over by `exec` to a program that
ends within a second. Spaces and underscores are the same in the name of a log: the tasks `a b` and
`a_b` share one.

The prefixes runnable_TRACK_, RUNNABLE_TRACK_ and MAGNUS_TRACK_ do the same. `steplog.track_this` in
a Python program tracks into the same task.

example:
  steplog exec --run-id my-run --task train -- python train.py
  steplog exec --task shell -- sh -c 'export STEPLOG_TRACK_answer=42'"""


def run(argv: Sequence[str]) -> int:
    """Run the command, and end as it did."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not words:
        parser.error("there is no command to run; write it after `--`")
    return _run(arguments, words)


def _run(arguments: argparse.Namespace, words: list[str]) -> int:
    # What a plain `exec` needs would otherwise cost every other command.
    from steplog.execution.attempt import Attempt
    from steplog.execution.surroundings import task_path
    from steplog.execution.warning import warn
    from steplog.task_text import text_of
    from steplog.what_runs import of_command

    named = arguments.run_id or next(filter(None, map(os.environ.get, RUN_ID_VARIABLES)), None)
    os.environ["STEPLOG_TASK"] = text_of(task_path(arguments.task, named))
    joined = join_run(arguments.run_id, arguments.tag, {}, of_command(words))
    if joined.run_id != named:
        warn(f"the run is {joined.run_id}")
    ending = Attempt(joined, _home(), words).run()
    joined.end(*ending.outcome)
    return ending.pass_on()


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("steplog exec", "Run a command as a task.", _EXAMPLE)
    parser.usage = "%(prog)s [-h] [--run-id ID] [--tag T] [--task NAME] -- CMD…"
    parser.add_argument("--run-id", type=run_id, metavar="ID", help="the run ($STEPLOG_RUN_ID)")
    parser.add_argument("--tag", default="", metavar="T", help="groups runs ($STEPLOG_TAG)")
    parser.add_argument("--task", metavar="NAME", help="the task ($STEPLOG_TASK, else main)")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="CMD…", help="the command and its arguments"
    )
    return parser


def _home() -> Path | None:
    from steplog.cli.arguments import home

    try:
        return home()
    except (SteplogError, OSError):  # the run has warned of it
        return None
