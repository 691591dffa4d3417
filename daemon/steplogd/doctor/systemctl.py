"""Asks systemd's own programs, which may be absent, or hang where systemd does not run."""

from __future__ import annotations

import os
import subprocess
from typing import Final

ASK_SECONDS: Final = 5.0
_MOST_QUOTED: Final = 120


class Silent(Exception):
    """There is no answer; the text says why."""


def ask(*command: str) -> dict[str, str]:
    """Run a program that prints `NAME=VALUE` lines, and return what it says.

    Raises:
        Silent: It is not there, fails, or takes too long.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=_environment(),
            timeout=ASK_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Silent(f"there is no {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise Silent(f"{command[0]} did not answer within {ASK_SECONDS:g} s") from None
    except OSError as error:
        raise Silent(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[0].rstrip(".")[:_MOST_QUOTED] if lines else f"exit status {done.returncode}"
        raise Silent(f"{command[0]} says: {reason}")
    text = done.stdout.decode("utf-8", "replace")
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def _environment() -> dict[str, str]:
    """Return ours, in one language, and with the way to the user's own manager, as after `su`."""
    runtime = {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"}
    return runtime | dict(os.environ) | {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
