"""The `steplog` command: it finds the subcommand, and makes one sentence of every error."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.arguments import CommandParser
from steplog.cli.terminal import sanitise
from steplog.errors import SteplogError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {
    "exec": "run a command as a task",
    "track": "append values to the spool of a run",
    "tail": "read a spool as it grows",
    "ls": "list the runs",
    "show": "show a run: its tasks, attempts and metrics",
    "compare": "show runs side by side, and mark what differs",
    "import": "bring in run logs of magnus and runnable",
}
"""Each is a module of this package with a function `run`, imported when it is called for."""

MODULES: Final = {"import": "import_"}
"""The modules of commands whose name cannot be a module's: it is a keyword of Python."""

FAILURE: Final = 1
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
"""What a shell sees of a command that SIGPIPE killed; nobody is left to read an error."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status: 0 done, 1 failed, 2 called wrongly.

    Never raises. An error is one sentence on stderr that says what to do.

    Args:
        argv: The arguments after the command's name; those of the process by default.
    """
    _make_streams_safe()
    try:
        status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        _abandon_stdout()
        return _complain(_what_failed(error))
    except SteplogError as error:
        return _complain(str(error))
    except Exception as error:  # noqa: BLE001  # the last resort: a traceback helps no user
        return _complain(f"a fault of steplog: {error!r}; please report it and what led to it")
    return status


def _dispatch(argv: list[str]) -> int:
    try:
        if argv and argv[0] in COMMANDS:
            module = MODULES.get(argv[0], argv[0])
            status: int = import_module(f"steplog.cli.{module}").run(argv[1:])
            return status
        _parser().parse_args(argv)
    except SystemExit as leaving:  # argparse has said all there is to say
        return leaving.code if isinstance(leaving.code, int) else 0
    return 0


def _parser() -> argparse.ArgumentParser:
    summaries = "\n".join(f"  {name:<8}{what}" for name, what in COMMANDS.items())
    parser = CommandParser(
        prog="steplog",
        description="Track experiments by appending lines to a local file.",
        epilog=f"commands:\n{summaries}\n\nexample:\n"
        "  steplog track --run-id my-run --step 3 loss=0.25\n"
        "  steplog tail my-run\n\n"
        "`steplog COMMAND --help` has an example of each. STEPLOG_HOME says where things lie.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and exit")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help="one of those below")
    return parser


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("steplog")
        except PackageNotFoundError:
            found = "(run from its source, not installed)"
        sys.stdout.write(f"steplog {found}\n")
        parser.exit()


def _make_streams_safe() -> None:
    """Let no character that the terminal's encoding lacks, and no closed stream, raise."""
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _abandon_stdout() -> None:
    """Keep the interpreter from raising at its end over what can no longer be written."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):  # not the process's own stdout
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _what_failed(error: OSError) -> str:
    if error.filename is None:  # of something that was open already: the output, or the spool
        return f"reading or writing failed ({error}); see that the disk has room and is in order"
    named = f"{error.filename}: {error.strerror}"
    return f"{named}; see that it can be used, or set STEPLOG_HOME to another folder"


def _complain(sentence: str) -> int:
    if sys.stderr is not None:
        sys.stderr.write(f"steplog: {sanitise(sentence)}\n")
    return FAILURE
