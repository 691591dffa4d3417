"""Tracks again and again, and raises an error at each instruction of steplog's in turn.

    python interrupter.py KeyboardInterrupt plain

It prints the numbers of the calls that returned, and how many instructions there were.
"""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import steplog

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SOURCE = str(Path(steplog.__file__).parent)
CALLS: dict[str, Callable[[int], None]] = {
    "plain": lambda i: steplog.track_this(i=i, x=0.5),
    "rare": lambda i: steplog.track({"i": i, "text": "x", "nested": {"a": None}}),
}


def raise_at(number: int, error: type[BaseException], call: Callable[[], None]) -> int:
    """Make a call, and raise an error at its n-th instruction; return how many it got to.

    Raises:
        BaseException: The error, where the call lets it through.
    """
    seen = 0

    def instruction(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        if event == "opcode":
            seen += 1
            if seen == number:
                raise error
        return instruction

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        frame.f_trace_opcodes = True
        return instruction

    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(None)
    return seen


def main(error: type[BaseException], call: Callable[[int], None]) -> None:
    """Interrupt a call at each of its instructions, and make some that are not interrupted."""
    returned, i, at, is_through = [], 0, 0, False
    with steplog.start_run("r"):
        while not is_through:
            i, at = i + 1, at + 1
            try:
                is_through = raise_at(at, error, lambda: call(i)) < at  # noqa: B023
                returned.append(i)
            except error:
                pass
            if at % 3 == 0:
                i += 1
                CALLS["plain" if at % 2 else "rare"](i)
                returned.append(i)
    print(json.dumps({"returned": returned, "instructions": at}))


if __name__ == "__main__":
    main(getattr(builtins, sys.argv[1]), CALLS[sys.argv[2]])
