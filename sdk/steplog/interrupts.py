"""What may interrupt a call of ours on its own thread: signal handlers, destructors."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import CodeType, FrameType


def is_under_way(codes: tuple[CodeType, ...], owner: object) -> bool:
    """Tell whether a method of an object, further down on this thread's stack, was interrupted.

    Args:
        codes: The methods that count; those that led straight here do not.
        owner: Their `self`.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code in codes:
        frame = frame.f_back
    while frame is not None:
        if _is_method(frame, codes, owner):
            return True
        frame = frame.f_back
    return False


def threads_in(codes: tuple[CodeType, ...], owner: object) -> int:
    """Return how many threads are in a method of an object, or were interrupted there.

    Args:
        codes: The methods that count.
        owner: Their `self`.
    """
    count = 0
    for innermost in sys._current_frames().values():
        frame: FrameType | None = innermost
        while frame is not None and not _is_method(frame, codes, owner):
            frame = frame.f_back
        count += frame is not None
    return count


def _is_method(frame: FrameType, codes: tuple[CodeType, ...], owner: object) -> bool:
    return frame.f_code in codes and frame.f_locals.get("self") is owner


def is_programs_own(error: BaseException) -> bool:
    """Tell whether an error is for the program to see: an interrupt, or a signal handler's."""
    return not isinstance(error, Exception) or comes_from_signal_handler(error)


def comes_from_signal_handler(error: BaseException) -> bool:
    """Tell whether a signal handler of the program raised an error: a timeout, say."""
    trace, codes = error.__traceback__, set()
    while trace is not None:
        codes.add(trace.tb_frame.f_code)
        trace = trace.tb_next
    signal = sys.modules.get("signal")  # imported if there are handlers
    if len(codes) == 1 or signal is None:  # raised right where it was caught, as nearly all are
        return False
    # Without its enums: a full disk has one event after another ask this.
    handlers = map(_signal.getsignal, range(1, signal.NSIG))
    return not codes.isdisjoint(map(_code_of, filter(None, handlers)))


def _code_of(handler: Any) -> CodeType | None:
    """Return the code of a function, a method, a partial of these, or an object with `__call__`."""
    handler = getattr(handler, "func", handler)
    code: CodeType | None = getattr(handler, "__code__", None)
    if code is None and callable(handler):
        code = getattr(type(handler).__call__, "__code__", None)
    return code
