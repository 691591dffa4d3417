"""The limit of the log: what comes again and again is said a few times, then counted."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_SECONDS: Final = 30.0
"""The journal's own: it drops what a service says beyond 10,000 lines in that time, errors too."""

MOST_OF_A_KIND: Final = 2_500
"""Of lines that each are of another run. 5,000 runs a minute may begin and end, and each is found
in the journal; a store of 100,000 runs that is folded again leaves room for what matters."""

MOST_OF_THE_SAME: Final = 5
"""Of lines of one kind that are of the same run and backend: of 10,000 values that a tracker
refuses, the first ones say why, and `steplogd dead-letters` has all."""

MOST_NAMED: Final = 20
"""Of what was left out, as much is said by run and backend."""

LEFT_OUT: Final = "more of this was left out"


class _Same(NamedTuple):
    """What lines have in common that are limited together."""

    event: str
    backend: str | None
    run: str | None


class LogLimit:
    """A processor of structlog that drops lines of which there are too many; for any thread.

    What was left out is said when its window of time is over: by a timer, as perhaps nothing else
    is logged then. It remembers `MOST_OF_A_KIND` runs of each kind at most.

    Args:
        say: Logs what was left out: the level, the event, and the fields.
        clock: A clock that never jumps, in seconds.
        is_timed: Whether to start a timer; else what was left out waits for the next line.
    """

    def __init__(
        self,
        say: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
        *,
        is_timed: bool = True,
    ) -> None:
        self._say = say
        self._clock = clock
        self._is_timed = is_timed
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._by_kind: dict[str, int] = {}
        self._by_same: dict[_Same, int] = {}
        self._left_out: dict[_Same, tuple[str, int]] = {}

    def __call__(
        self, _: structlog.typing.WrappedLogger, level: str, told: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Let a line through, or drop it and count it."""
        if told.get("event") == LEFT_OUT:
            return told
        with self._lock:
            over = self._take_over()
            is_let_through = self._is_room_for(told, level)
        self._tell(over)
        if not is_let_through:
            raise structlog.DropEvent
        return told

    def flush(self) -> None:
        """Say what was left out, though its time may not be over."""
        with self._lock:
            self._until = float("-inf")
            over = self._take_over()
        self._tell(over)

    def _is_room_for(self, told: structlog.typing.EventDict, level: str) -> bool:
        event, backend, run = str(told.get("event")), told.get("backend"), told.get("run")
        same = _Same(event, backend, run)
        of_the_same = self._by_same.get(same, 0)
        if of_the_same >= MOST_OF_THE_SAME:
            self._leave_out(same, level)
            return False
        if self._by_kind.get(event, 0) >= MOST_OF_A_KIND:
            self._leave_out(_Same(event, None, None), level)
            return False
        self._by_kind[event] = self._by_kind.get(event, 0) + 1
        self._by_same[same] = of_the_same + 1
        return True

    def _leave_out(self, same: _Same, level: str) -> None:
        if not self._left_out and self._is_timed:
            timer = threading.Timer(max(self._until - self._clock(), 0), self.flush)
            timer.daemon = True  # it must not keep the process
            with contextlib.suppress(RuntimeError):  # no thread to be had: the next line says it
                timer.start()
        _, count = self._left_out.get(same, (level, 0))
        self._left_out[same] = level, count + 1

    def _take_over(self) -> dict[_Same, tuple[str, int]]:
        """Begin anew where the time is over; return what was left out in it."""
        now = self._clock()
        if now < self._until:
            return {}
        self._until = now + WINDOW_SECONDS
        over, self._left_out = self._left_out, {}
        self._by_kind.clear()
        self._by_same.clear()
        return over

    def _tell(self, over: dict[_Same, tuple[str, int]]) -> None:
        by_event: dict[tuple[str, str], int] = {}
        for same, (level, count) in list(over.items())[MOST_NAMED:]:
            by_event[level, same.event] = by_event.get((level, same.event), 0) + count
        for same, (level, count) in list(over.items())[:MOST_NAMED]:
            about: dict[str, Any] = {"backend": same.backend, "run": same.run}
            self._say(level, LEFT_OUT, of=same.event, count=count, **about)
        for (level, event), count in by_event.items():
            self._say(level, LEFT_OUT, of=event, count=count, backend=None, run=None)
