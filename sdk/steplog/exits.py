"""How this process ends: by itself, by an uncaught exception, or with an exit status."""

from __future__ import annotations

import atexit
import builtins
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from steplog.errors import describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

MAX_MESSAGE_CHARACTERS: Final = 2000

Outcome = tuple[str, str]
"""A status, SUCCESS or FAIL, and why it failed, or ""."""

SUCCESS: Final[Outcome] = ("SUCCESS", "")


def outcome_of(error: BaseException | None) -> Outcome:
    """Return what an exception that leaves a block says of the block; None is success."""
    if error is None or isinstance(error, GeneratorExit):
        return SUCCESS
    if isinstance(error, SystemExit):
        return _outcome_of_code(error.code)
    return ("FAIL", describe(error)[:MAX_MESSAGE_CHARACTERS])


def _outcome_of_code(code: object) -> Outcome:
    if code is None or code == 0:
        return SUCCESS
    return ("FAIL", f"exit status {code}"[:MAX_MESSAGE_CHARACTERS])


class ExitWatch:
    """Learns how the process ends, and tells it once, when it does.

    The main program's outermost frame tells whether it returned; if it did not, it left with the
    exception that the interpreter printed last, or by `sys.exit`, `exit` or `quit`, which are
    wrapped, as the interpreter tells nobody the exit status. What this cannot see: `raise
    SystemExit(1)`, and a `sys.exit` that was imported by its name before, count as success, and
    `os._exit` and signals end a process without a word, which is what the spool's lock is for.

    Args:
        on_exit: Called at the end of the process with its outcome; in a forked child too.

    Attributes:
        outcome: How the process ends, from then on; None before.
    """

    def __init__(self, on_exit: Callable[[Outcome], None]) -> None:
        self.outcome: Outcome | None = None
        self._on_exit = on_exit
        self._exit_code: object = None
        self._outermost = _outermost_frame()
        self._printed = _last_printed()
        self._finalized_pid = 0
        self._exit = sys.exit
        sys.exit = self._on_sys_exit  # type: ignore[assignment]
        self._watch_quitters()
        atexit.register(self._at_exit)

    def watch_worker(self) -> None:
        """Also watch the end of this process if multiprocessing started it: it skips `atexit`."""
        util = sys.modules.get("multiprocessing.util")
        process = sys.modules.get("multiprocessing.process")
        if util is None or process is None or process.parent_process() is None:
            return
        if self._finalized_pid != os.getpid():
            self._finalized_pid = os.getpid()
            util.Finalize(None, self._at_worker_exit, exitpriority=-100)

    def _watch_quitters(self) -> None:
        """Watch `exit` and `quit`, which `site` makes, and which raise by themselves."""
        quitter: Any = type(getattr(builtins, "exit", None))
        if quitter.__module__ != "_sitebuiltins":
            return  # started without site, or somebody else's
        quit_as_ever = quitter.__call__

        def call(asked: Any, code: Any = None) -> None:
            self._note(code)
            quit_as_ever(asked, code)

        quitter.__call__ = call

    def _on_sys_exit(self, status: Any = None, /) -> None:
        self._note(status)
        self._exit(status)

    def _note(self, status: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self._exit_code = status
            self._printed = _last_printed()

    def _at_exit(self) -> None:
        self._tell(self._outcome())

    def _at_worker_exit(self) -> None:
        self._tell(outcome_of(sys.exc_info()[1]))

    def _tell(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._on_exit(outcome)

    def _outcome(self) -> Outcome:
        printed = _last_printed()
        uncaught = None if printed is self._printed else printed
        outcome = outcome_of(uncaught) if uncaught else _outcome_of_code(self._exit_code)
        if outcome != SUCCESS and _has_returned(self._outermost):
            return SUCCESS  # whatever was raised or exited with on the way, somebody caught it
        return outcome


def _last_printed() -> BaseException | None:
    """Return the uncaught exception that the interpreter printed, whoever owns `excepthook`."""
    return getattr(sys, "last_value", None)


def _outermost_frame() -> FrameType | None:
    """Return the frame of the main program, from whatever thread."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _has_returned(frame: FrameType | None) -> bool:
    """Tell whether a frame that runs no longer ended by itself rather than by an exception."""
    if frame is None:
        return False
    import opcode  # needed only where something failed

    return opcode.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")
