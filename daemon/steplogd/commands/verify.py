"""`steplogd verify`: read every backend back, and say where it differs from the run log."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from steplog.cli.terminal import counted, sanitise
from steplog.documents import write_json
from steplog.home import database_path
from steplogd.commands.choosing import check_run
from steplogd.config import find_config, load_config
from steplogd.logs.log import set_up_log
from steplogd.store.database import Database
from steplogd.store.standings import Standings
from steplogd.verifier import Verifier

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.config import BackendConfig, Config
    from steplogd.verdict import Difference, Verdict

_MAX_SHOWN: Final = 20
_MAX_VALUE: Final = 60
_DESCRIPTION: Final = """\
Reads every backend back, and compares it with the run log, point by point. Exit status 0: each
holds all of the run log. 1: something differs, which is named, dead letters with their reason; or a
backend is still behind, which `steplogd drain` cures; or it cannot be read. What it was not sent
yet counts as behind, not as a difference; what the spools hold beyond the run log is not looked at.
Of the names that the run log has, a backend may hold nothing else either; whatever else is
there, such as what a task logged with the tracker's own client, is none of ours. A daemon may
deliver meanwhile. The points of one run lie in memory at a time, some 700 bytes each."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "verify",
        help="read every backend back and compare it with the run log: 0 equal, 1 not",
        description=_DESCRIPTION,
        epilog="example: steplogd verify blazing-colden-0544 --json",
    )
    parser.add_argument("run", metavar="RUN", nargs="?", help="the run; all without it")
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.add_argument("--json", action="store_true", help="print all as one JSON object")
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify; returns 0 when every backend is equal to the run log, 1 otherwise."""
    config = load_config(find_config(arguments.config))
    set_up_log(logging.WARNING)  # a bar shows the rest
    with contextlib.closing(Database(database_path(config.home), is_onlooker=True)) as database:
        check_run(arguments.run, database)
        verdicts = _verify(config, Standings(database), arguments.run)
    is_equal = all(verdict.is_equal for verdict in verdicts)
    if arguments.json:
        document = {"equal": is_equal, "backends": msgspec.to_builtins(verdicts)}
        write_json(document, sys.stdout.write)
    else:
        _print(verdicts)
    return 0 if is_equal else 1


def _verify(config: Config, standings: Standings, run_id: str | None) -> list[Verdict]:
    runs = standings.runs(run_id)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        return [
            _verify_backend(backend, config.home, standings, runs, progress)
            for backend in config.backends
        ]


def _verify_backend(
    config: BackendConfig, home: Path, standings: Standings, runs: dict[int, str], bars: Progress
) -> Verdict:
    total = standings.acknowledged(config.name, runs)
    bar = bars.add_task(escape(sanitise(f"read from {config.name}")), total=total)
    backend = config.build(home)
    try:
        verifier = Verifier(config.name, backend, standings, functools.partial(bars.advance, bar))
        return verifier.verify(runs)
    finally:
        bars.update(bar, completed=total)
        backend.close()


def _print(verdicts: list[Verdict]) -> None:
    if not verdicts:
        sys.stdout.write("no backend: the run log has it all\n")
    for verdict in verdicts:
        sys.stdout.write(f"{sanitise(verdict.backend)}: {', '.join(_summary(verdict))}\n")
        for difference in verdict.differences[:_MAX_SHOWN]:
            sys.stdout.write(f"  {sanitise(_sentence(difference))}\n")
        if len(verdict.differences) > _MAX_SHOWN:
            more = len(verdict.differences) - _MAX_SHOWN
            sys.stdout.write(f"  and {more:,} more: --json has them all\n")


def _summary(verdict: Verdict) -> Iterator[str]:
    if verdict.error:
        yield f"cannot be read: {sanitise(verdict.error)}"
    if verdict.differences:
        yield counted(len(verdict.differences), "difference")
    if verdict.runs_behind:
        observations = counted(verdict.observations_behind, "observation")
        yield f"behind by {observations} of {counted(verdict.runs_behind, 'run')}"
    equal = "equal" if verdict.is_equal else "otherwise equal"
    yield f"{equal} in {counted(verdict.points, 'point')} of {counted(verdict.runs, 'run')}"


def _sentence(difference: Difference) -> str:
    """Say where something differs, and how: as short as it can be read."""
    task = ".".join(difference.task)
    where = [difference.run_id, f"{task} {difference.key}" if difference.key else difference.name]
    if difference.kind == "metric" or difference.key:
        where.append(f"step {difference.step}")
    reason = f" ({difference.reason})" if difference.reason else ""
    if difference.expected is None and difference.found is None:
        return f"{' '.join(where)}{reason}"
    values = f"expected {_shown(difference.expected)}, found {_shown(difference.found)}"
    return f"{' '.join(where)}: {values}{reason}"


def _shown(value: str | None) -> str:
    if value is None:
        return "nothing"
    return value if len(value) <= _MAX_VALUE else f"{value[: _MAX_VALUE - 1]}…"
