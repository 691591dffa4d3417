"""How a command ended, and how `steplog exec` ends as it did."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import msgspec

from steplog.exits import SUCCESS

if TYPE_CHECKING:
    from steplog.exits import Outcome


class Ending(msgspec.Struct, frozen=True):
    """The end of a command.

    Attributes:
        status: Its exit status; 128 and more when a signal ended it, as in a shell.
        signal: The signal that ended it, or 0.
        message: What is wrong with it, in the words of the run log; "" when nothing is.
    """

    status: int
    signal: int = 0
    message: str = ""

    @property
    def outcome(self) -> Outcome:
        """What the run log is told."""
        return ("FAIL", self.message) if self.message else SUCCESS

    def pass_on(self) -> int:
        """Return the exit status, or end this process by the signal that ended the command."""
        if self.signal:
            _end_by(self.signal)
        return self.status


def ending_of(wait_status: int) -> Ending:
    """Return what the status that `waitpid` gave says."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return Ending(code, message=f"exit status {code}" if code else "")
    return Ending(128 - code, -code, f"killed by {name_of(-code)}")


def name_of(number: int) -> str:
    """Return the name of a signal, such as SIGTERM."""
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"


def _end_by(number: int) -> None:
    import resource

    # The command has left its own core, if any.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
