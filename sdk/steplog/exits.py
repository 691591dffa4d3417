"""How this process ends: by itself, by an uncaught exception, or with an exit status."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

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
    name = type(error).__name__
    return ("FAIL", f"{name}: {error}"[:MAX_MESSAGE_CHARACTERS] if str(error) else name)


def _outcome_of_code(code: object) -> Outcome:
    if code is None or code == 0:
        return SUCCESS
    return ("FAIL", f"exit status {code}"[:MAX_MESSAGE_CHARACTERS])


class ExitWatch:
    """Learns how the process ends, and tells it once, when it does.

    It wraps `sys.excepthook` and `sys.exit`, as the interpreter tells nobody the exit status. What
    it cannot see: `raise SystemExit(1)` without `sys.exit` counts as success, and `os._exit` and
    signals end a process without a word, which is what the spool's lock is for.

    Args:
        on_exit: Called at the end of the process with its outcome; in a forked child too.
    """

    def __init__(self, on_exit: Callable[[Outcome], None]) -> None:
        self._on_exit = on_exit
        self._uncaught: BaseException | None = None
        self._exit_code: object = None
        self._outermost = _outermost_frame()
        self._finalized_pid = 0
        self._excepthook, self._exit = sys.excepthook, sys.exit
        sys.excepthook = self._on_uncaught
        sys.exit = self._on_sys_exit  # type: ignore[assignment]
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

    def _on_uncaught(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        self._uncaught = error
        self._excepthook(kind, error, trace)

    def _on_sys_exit(self, status: Any = None, /) -> None:
        if threading.current_thread() is threading.main_thread():
            self._exit_code = status
        self._exit(status)

    def _at_exit(self) -> None:
        self._on_exit(self._outcome())

    def _at_worker_exit(self) -> None:
        self._on_exit(outcome_of(sys.exc_info()[1]))

    def _outcome(self) -> Outcome:
        if self._uncaught is not None:
            return outcome_of(self._uncaught)
        if self._exit_code in (None, 0) or _has_returned(self._outermost):
            return SUCCESS  # where the main program came to its end, somebody caught the exit
        return _outcome_of_code(self._exit_code)


def _outermost_frame() -> FrameType | None:
    if threading.current_thread() is not threading.main_thread():
        return None
    frame: FrameType = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


def _has_returned(frame: FrameType | None) -> bool:
    """Tell whether a frame that runs no longer ended by itself rather than by an exception."""
    if frame is None:
        return False
    import dis  # needed only at an exit with a status

    return dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")
