"""The pen: whoever holds it numbers and writes a writer's lines; there is one."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from steplog.encoding import check_size, encode_line, prepare_fields
from steplog.events import Event, Open
from steplog.interrupts import threads_in
from steplog.names import new_writer_id
from steplog.spool import CLOSED, TornWrite, write_line

if TYPE_CHECKING:
    from types import CodeType

    from steplog.events import KnownEvent
    from steplog.room import Room

_now: Final = time.monotonic
_OF_ALL: Final = frozenset(Event.__struct_fields__)  # these are of the line, not of what it says

WAIT_SECONDS: Final = 0.01
"""A pause of so long is the last before looking whether the writer goes on with another pen."""

TURN_SECONDS: Final = 0.0005
"""For how long a thread may go on writing while others wait: it takes as long as thirty lines to
hand the pen over."""

LOOK_SECONDS: Final = 0.0001
"""How long a thread waits before it first looks whether the pen lies in its place."""


class Pen:
    """A writer's identity, and what is next for it to write.

    It lies in a list of its own, and whoever pops it from there may write, until it is put back:
    far cheaper than a lock. It holds all that one line after another changes, so that whoever is
    interrupted with it in hand can be left alone with it, and the writer goes on with another.

    Attributes:
        w: The writer's id in the spool.
        n: The number of the next line.
        fd: Where the fast path may write; closed while something else has to be written first.
        is_torn: Whether the spool may end in a piece of a line.
        greeting: Events to be written before any other.
        room: How many bytes the fast path may write before it is looked how full the disk is; at
            most as many as the longest line has.
        place: The list that it lies in while nobody has it.
        line: Room for the line that is being written, used again by the next.
        waiting: A lock for each thread that waits for it, released for the one that gets it next.
        turn_ends: When it is to be handed over, by the monotonic clock, if a thread waits then.
    """

    __slots__ = (
        "fd",
        "greeting",
        "is_torn",
        "line",
        "n",
        "place",
        "room",
        "turn_ends",
        "w",
        "waiting",
    )

    def __init__(self, *greeting: KnownEvent, is_torn: bool = False) -> None:
        self.w = new_writer_id()
        self.n = 0
        self.fd = CLOSED
        self.room = 0
        self.is_torn = is_torn
        self.greeting = list(greeting)
        self.place = [self]
        self.line = bytearray()
        self.waiting: list[threading.Lock] = []
        self.turn_ends = 0.0

    def put_back(self) -> None:
        """Let the next one write.

        Who has waited longest gets it at the end of a turn, before who comes, or some would wait
        for ever. Within a turn it lies in its place: threads that do nothing but write would else
        go to sleep and wake up for each line.
        """
        if self.waiting and _now() >= self.turn_ends:
            try:
                baton = self.waiting.pop(0)
            except IndexError:  # it waits no longer
                pass
            else:
                self.turn_ends = _now() + TURN_SECONDS
                baton.release()
                return
        self.place.append(self)

    def wait(self) -> bool:
        """Wait a while until it is handed over or lies there; tell whether the caller has it."""
        baton = threading.Lock()
        baton.acquire()
        self.waiting.append(baton)
        try:
            has_it = self._look_out(baton)
        finally:  # whatever interrupts that, or it would be handed to nobody
            is_handed_over = self._stop_waiting(baton)
        return has_it or is_handed_over

    def _look_out(self, baton: threading.Lock) -> bool:
        """Wait for the baton, and look for the pen: nobody says that a turn ended before its time.

        The first look is soon, for whoever had but one line to write. Each of many that wait takes
        its time, and all the more the longer it has waited.
        """
        pause = LOOK_SECONDS * len(self.waiting)
        while not baton.acquire(timeout=pause):
            if self._take():
                return True
            if pause >= WAIT_SECONDS:
                return False
            pause *= 2
        return True

    def _stop_waiting(self, baton: threading.Lock) -> bool:
        """Wait no longer, and tell whether it was handed over, perhaps just now."""
        try:
            self.waiting.remove(baton)
        except ValueError:
            return True
        return False

    def _take(self) -> bool:
        """Take it from its place, if it lies there."""
        try:
            self.place.pop()
        except IndexError:
            return False
        return True

    def is_abandoned(self, codes: tuple[CodeType, ...], owner: object) -> bool:
        """Tell whether nobody holds the pen any more, though threads wait for it.

        Its holder met an error within an error, and did not come to put it back.

        Args:
            codes: The methods of its writer.
            owner: Its writer.
        """
        n, waiting = self.n, self.waiting.copy()
        others = threads_in(codes, owner) - 1
        is_as_before = (n, waiting) == (self.n, self.waiting)
        # More wait than there are where an error within an error left one in the list.
        return is_as_before and not self.place and others <= len(waiting)

    def successor(self, joined_id: str) -> Pen:
        """Return the pen of a further writer, which says what this one has not said yet.

        Args:
            joined_id: The writer that its process joined with.
        """
        first = [] if self._unsaid_opening() else [opening(of=joined_id)]
        # Torn perhaps; an empty line more is nobody's concern.
        return Pen(*first, *self.greeting, is_torn=True)

    def will_join(self) -> bool:
        """Tell whether its process has not opened the spool yet, and whoever does is the first."""
        unsaid = self._unsaid_opening()
        return unsaid is not None and not unsaid.of

    def _unsaid_opening(self) -> Open | None:
        return next((event for event in self.greeting if isinstance(event, Open)), None)

    def greet(self, file: int, room: Room, before: type[KnownEvent]) -> None:
        """Write what must stand in the spool before anything else of this writer."""
        while self.greeting:
            self.say(file, room, self.greeting[0], before)
            self.greeting.pop(0)

    def say(self, file: int, room: Room, event: KnownEvent, before: type[KnownEvent]) -> None:
        """Write an event of a greeting under the next number."""
        names = event.__struct_fields__
        fields = {name: getattr(event, name) for name in names if name not in _OF_ALL}
        self.write(file, room, type(event), fields, before)

    def write(
        self,
        file: int,
        room: Room,
        kind: type[KnownEvent],
        fields: dict[str, Any],
        before: type[KnownEvent] | None = None,
    ) -> None:
        """Write one event under the next number.

        Args:
            file: The spool.
            room: What is left of its disk.
            kind: The kind of event.
            fields: What it says.
            before: The event that it must stand before, and shares the fate of.

        Raises:
            Exception: It is not in the spool, and its number is not used up.
        """
        prepare_fields(fields)
        line = check_size(encode_line(kind(self.w, self.n, time.time_ns() // 1000, **fields)))
        self.room = 0
        self.room = room.claim(file, len(line), before or kind)
        try:
            write_line(file, b"\n" + line if self.is_torn else line)
        except TornWrite as error:
            self.is_torn = True
            raise OSError(error.errno, error.strerror) from None  # the reason that recurs
        self.is_torn = False
        self.n += 1


def opening(of: str = "", *, worker: bool = False) -> Open:
    """Say who opens; a worker of a multiprocessing pool is its parent's to answer for."""
    process = sys.modules.get("multiprocessing.process")
    worker = worker or (process is not None and process.parent_process() is not None)
    return Open(pid=os.getpid(), host=os.uname().nodename, of=of, worker=worker)
