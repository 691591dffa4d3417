"""What commands are told: a parser whose errors are one sentence, types of arguments, the home."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from steplog.cli.terminal import sanitise
from steplog.errors import InvalidName, SteplogError
from steplog.home import default_home
from steplog.names import check_run_id

if TYPE_CHECKING:
    from pathlib import Path

USAGE_ERROR: Final = 2


class CommandParser(argparse.ArgumentParser):
    """Parses without abbreviations, and keeps the lines of the epilog, where the example is."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Say in one sentence what is wrong, and exit with status 2."""
        sys.stderr.write(f"{self.prog}: {sanitise(message)}; see `{self.prog} --help`\n")
        sys.exit(USAGE_ERROR)


def run_id(text: str) -> str:
    """Take a run id as an argument."""
    try:
        return check_run_id(text)
    except InvalidName as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def int64(text: str) -> int:
    """Take a whole number of 64 bits as an argument."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a whole number") from None
    if not -(2**63) <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text[:80]} does not fit into 64 bits")
    return number


def natural(text: str) -> int:
    """Take a whole number that is not negative as an argument."""
    number = int64(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number


def positive(text: str) -> int:
    """Take a whole number above zero as an argument."""
    number = int64(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def home() -> Path:
    """Return the home that the environment names.

    Raises:
        SteplogError: It names none.
    """
    try:
        return default_home()
    except RuntimeError:
        raise SteplogError("this user has no home directory; set STEPLOG_HOME") from None
