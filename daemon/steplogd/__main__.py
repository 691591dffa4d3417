"""The command `steplogd`: picks the command's file, and turns every error into one sentence."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn

from steplogd.exit_statuses import EXIT_CONFIG, EXIT_HELD, EXIT_LATER

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_LAST_WORDS_SECONDS: Final = 0.5
_COMMANDS: Final = (
    "run",
    "drain",
    "status",
    "verify",
    "replay",
    "dead_letters",
    "check",
    "doctor",
    "install",
    "uninstall",
    "demo",
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `steplogd` with these arguments, or those of the process, and exit."""
    status = _run(arguments)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads it any more, and Python would say so with a traceback
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if _is_anything_hanging():
        os._exit(status)  # a backend that never answers must not keep the process
    sys.exit(status)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        parser = _parser()
    except ModuleNotFoundError as error:
        return _fail(f"needs the package {error.name}: pip install 'steplog[daemon]'", 1)
    parsed = parser.parse_args(arguments)
    from steplog.errors import SteplogError
    from steplogd.config import ConfigError
    from steplogd.holder import HomeHeld
    from steplogd.store.database import StoreBusy, StoreError, StoreUnusable

    try:
        return int(parsed.function(parsed))
    except ConfigError as error:
        return _fail(str(error), EXIT_CONFIG)
    except HomeHeld as error:
        return _fail(str(error), EXIT_HELD)
    except StoreUnusable as error:
        return _fail(f"{error}; {error.ADVICE}", 1)
    except StoreBusy as error:
        return _fail(str(error), EXIT_LATER)
    except (StoreError, SteplogError) as error:
        return _fail(str(error), 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        advice = "see that it can be used, or set STEPLOG_HOME to another folder"
        return _fail(f"{where}{error.strerror or error}; {advice}", 1)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    from steplog.cli.arguments import CommandParser

    parser = CommandParser(
        prog="steplogd",
        description="The steplog daemon: folds spools into run logs, and feeds the trackers.",
        epilog="example: steplogd run    (then, in a training: steplog.track_this(loss=0.2))",
    )
    parser.add_argument("--version", action="version", version=f"steplogd {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=CommandParser)
    for name in _COMMANDS:
        importlib.import_module(f"steplogd.commands.{name}").add_parser(commands)
    return parser


def _version() -> str:
    from importlib.metadata import version

    return version("steplog")


def _fail(sentence: str, status: int) -> int:
    from steplog.cli.terminal import sanitise
    from steplogd.delivery.secrets import without_secrets

    sys.stderr.write(f"steplogd: {sanitise(without_secrets(sentence))}\n")
    return status


def _is_anything_hanging() -> bool:
    """Tell whether a thread goes on that the interpreter would wait for, for ever."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    waited_for = [thread for thread in others if not thread.daemon]
    for thread in waited_for:
        thread.join(_LAST_WORDS_SECONDS)
    return any(thread.is_alive() for thread in waited_for)


if __name__ == "__main__":
    main()
