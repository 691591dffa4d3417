"""`steplogd doctor`: look at everything that steplog needs, and say how to mend what is wrong."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console
from rich.markup import escape

from steplog.cli.terminal import counted, is_coloured, paint, sanitise
from steplogd.commands.delivering import seconds
from steplogd.delivery.secrets import without_secrets
from steplogd.exit_statuses import EXIT_CONFIG

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from steplogd.doctor.finding import Finding

TIMEOUT_SECONDS: Final = 10.0
_COLOURS: Final = {"ok": 32, "warning": 33, "wrong": 31, "skipped": 90}
_MARK: Final = 9
_NAME: Final = 15
_DESCRIPTION: Final = """\
Looks at configuration, home, permissions, file system, disk, clock, inotify and its limits, unit,
store and backends, and says what is wrong and how to mend it. Changes nothing, and disturbs no
daemon. Exit status 0: all is well, warnings apart. 1: something is wrong. 78: the configuration is,
so that no daemon starts. What this user cannot see is skipped: run it as the daemon's user, or as
root. In --json each finding names its check, and these names stay."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="look at everything that is needed, and say how to mend what is wrong",
        description=_DESCRIPTION,
        epilog="example: steplogd doctor --timeout 5",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=seconds,
        default=TIMEOUT_SECONDS,
        help=f"wait for backends for S seconds at most; {TIMEOUT_SECONDS:g} without it",
    )
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what is found; returns 0, 1 when something is wrong, 78 when no daemon would start."""
    from steplogd.doctor.examination import examine  # every other command can do without

    found = []
    for finding in map(_without_secrets, examine(arguments.config, arguments.timeout, _note)):
        found.append(finding)
        if not arguments.json:
            _print(finding)
    if arguments.json:
        document = {"state": _worst(found), "findings": msgspec.to_builtins(found)}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.write(f"\n{_summary(found)}\n")
    if any(finding.bars_start for finding in found):
        return EXIT_CONFIG
    return 1 if _worst(found) == "wrong" else 0


def _worst(found: list[Finding]) -> str:
    states = {finding.state for finding in found}
    return next((state for state in ("wrong", "warning") if state in states), "ok")


def _without_secrets(finding: Finding) -> Finding:
    """Mask what a tracker, a configuration or a file name may have said."""
    texts = {name: getattr(finding, name) for name in ("text", "mend", "subject")}
    masked = {name: without_secrets(text) for name, text in texts.items()}
    return msgspec.structs.replace(finding, **masked)


def _print(finding: Finding) -> None:
    mark = f"{finding.state:<{_MARK}}"
    if is_coloured(sys.stdout):
        mark = paint(mark, _COLOURS[finding.state])
    sys.stdout.write(f"{mark}{finding.check:<{_NAME}}{sanitise(finding.text)}\n")
    if finding.mend:
        sys.stdout.write(f"{'':<{_MARK + _NAME}}{sanitise(finding.mend)}\n")
    if sys.stdout.isatty():
        sys.stdout.flush()  # whoever looks on sees what is slow


def _summary(found: list[Finding]) -> str:
    counts = {state: sum(finding.state == state for finding in found) for state in _COLOURS}
    if not counts["wrong"] and not counts["warning"]:
        return "all is well"
    return f"{counts['wrong']:,} wrong, {counted(counts['warning'], 'warning')}"


def _note(sentence: str) -> AbstractContextManager[object]:
    """Say on a terminal what is waited for."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return contextlib.nullcontext()
    return console.status(escape(sanitise(sentence)))
