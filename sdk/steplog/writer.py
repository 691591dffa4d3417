"""The writer: one process's numbered lines in the spool of one run, each at the cost of a write."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from steplog import forks, losses
from steplog.encoding import encode_into, prepare_fields
from steplog.errors import NoRoom, TrackingError, describe
from steplog.events import Join, Leave, Lost, Track
from steplog.home import spool_path
from steplog.interrupts import comes_from_signal_handler, is_programs_own, is_under_way
from steplog.pen import Pen, opening
from steplog.room import Room
from steplog.spool import BROKEN, CLOSED, is_deleted, leads_elsewhere, lock, open_spool_and_look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from steplog.events import KnownEvent, TaskField

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_INFINITY: Final = float("inf")
_MINUS_INFINITY: Final = -_INFINITY
_MAX_REASON_CHARACTERS: Final = 500
_LF: Final = ord("\n")
_write: Final = os.write
_now_ns: Final = time.time_ns


class Writer:
    """Appends the events of this process to the spool of one run.

    One event is one line, and one `write(2)` with O_APPEND: on return it is in the file, whatever
    is killed next (a power cut may take what the kernel had not flushed). Where memory or calls ran
    out in between, it may stand there twice, under one number, and counts once. Lines are numbered
    without gaps in the order of the file, from any number of threads. A forked child goes on as a
    writer of its own. A signal handler or a destructor that interrupts a write of its own thread
    writes its line as a further writer, and never waits.

    Nothing is raised but `TrackingError`, and that only when `configure(strict=True)` asks for it:
    what cannot be recorded is counted, warned of once, and told in the spool when there is room.
    What a signal handler raises in the middle of a call passes through.

    Args:
        home: Where the spools lie.
        run_id: A valid run id.
        on_open: Called whenever the spool was opened, in a forked child too.
        fd: The spool, when it is open already.
    """

    def __init__(
        self, home: Path, run_id: str, on_open: Callable[[], None], fd: int = CLOSED
    ) -> None:
        self.home, self.run_id, self._on_open = home, run_id, on_open
        self._file, self._room = fd, Room()
        self._take_new_pen(Pen(opening()))
        self._lost, self._lost_reason = 0, ""
        self._tally = threading.RLock()
        self._has_joined = self._has_left = self._is_untouched_copy = False
        self._joined_id = self._pen.w
        self._stays = False
        self._is_astray()
        forks.watch(self)

    def track(self, task: TaskField, step: int, values: dict[str, Any]) -> None:
        """Append what a task observed at a step."""
        pen, n = None, -1
        try:
            # A sum that is a finite float has added up finite numbers and nothing else; it is one
            # look in C at them all. (A tensor is none, and warns when it is made one.)
            total = sum(values.values(), 0.0)
            if (
                (type(total) is float or isinstance(total, float))
                and _MINUS_INFINITY < total < _INFINITY
                and type(step) is int
                and _INT64_MIN <= step <= _INT64_MAX
            ):
                pen = self._place.pop()
                n, stamp = pen.n, _now_ns() // 1000
                line = pen.line
                encode_into(Track(pen.w, n, stamp, task=task, step=step, values=values), line)
                line.append(_LF)
                size = len(line)
                room = pen.room - size
                if room >= 0:
                    if _write(pen.fd, line) == size:
                        pen.room = room
                        pen.n = n + 1
                        if pen.waiting:
                            pen.put_back()
                        else:
                            pen.place.append(pen)
                        return
                    pen.is_torn = True
        except BaseException as error:
            # `append` meets the cause again, and deals with it.
            if error.__class__ not in losses.EXHAUSTED and is_programs_own(error):
                self._renew()
                raise
        try:
            self._track_after(pen, n, {"task": task, "step": step, "values": values})
        except losses.EXHAUSTED:
            self._lost_reason, self._pen.fd = losses.EXHAUSTED_REASON, CLOSED
            self._lost += 1

    def _track_after(self, pen: Pen | None, n: int, fields: dict[str, Any]) -> None:
        if pen is not None:
            if -1 < n != pen.n:
                return  # it is in the spool, and no call was left to put the pen back
            pen.put_back()
        self._append(Track, fields)

    def append(self, kind: type[KnownEvent], **fields: Any) -> None:
        """Append an event of any kind; its writer, number and time are added here."""
        try:
            self._append(kind, fields)
        except losses.EXHAUSTED:
            self._lost_reason, self._pen.fd = losses.EXHAUSTED_REASON, CLOSED
            self._lost += 1

    def _append(self, kind: type[KnownEvent], fields: dict[str, Any]) -> None:
        pen = None
        try:
            prepare_fields(fields, self._lose)
            pen = self._take_pen()
            if pen is None:
                self._append_as_another(kind, fields)
                return
            self._write(pen, kind, fields)
            pen.put_back()
        except TrackingError:
            raise
        except Exception as error:  # noqa: BLE001  # a value's own conversion may raise anything
            self._lose(error, pen)
        except BaseException:
            self._renew()
            raise

    def join(self, tag: str, parameters: Mapping[str, Any], config: dict[str, Any]) -> None:
        """Say that this process is in the run: now, or as soon as the spool can be written.

        A parameter that cannot be encoded costs itself alone.
        """
        fields: dict[str, Any] = {"parameters": parameters, "config": config}
        prepare_fields(fields, self._lose)
        self._pen.greeting.append(Join(tag=tag, **fields))
        self._has_joined = True
        pen = None
        try:
            pen = self._take_pen()
            if pen is not None:
                first, greeting = pen.n, pen.greeting.copy()
                self._get_ready(pen, Join)
                if self._is_astray():
                    self._greet_again(pen, first, greeting, Join)
                pen.put_back()
        except Exception as error:  # noqa: BLE001  # tried again before the next event
            self._put_back(error, pen)
            losses.report(error, f"run {self.run_id}")
        except BaseException:
            self._renew()
            raise

    def leave(self, status: str, message: str) -> None:
        """Say that this process is out of the run, and how it ended; then close the spool."""
        try:
            if not self._is_untouched_copy:
                self.append(Leave, status=status, message=message)
        finally:
            self._has_left = True
            self.close()

    def close(self) -> None:
        """Let go of the spool and its lock; an event that comes later opens it again."""
        try:
            pen = self._take_pen()
            if pen is not None:  # else this thread is in the middle of a write, and will close it
                self._shut(pen)
                pen.put_back()
        except BaseException:
            self._renew()
            raise

    def _take_pen(self) -> Pen | None:
        """Wait for the right to number and write; None when this thread has it further down."""
        while True:
            pen = self._pen
            try:
                return pen.place.pop()
            except IndexError:
                pass
            # A thread that the end of the interpreter stopped will never put it back.
            if sys.is_finalizing() or is_under_way(_CODES, self):
                return None
            if pen.wait():
                return pen
            if self._pen is pen and pen.is_abandoned(_CODES, self):
                self._renew()

    def _take_new_pen(self, pen: Pen) -> None:
        self._pen = pen
        self._place = pen.place

    def _append_as_another(self, kind: type[KnownEvent], fields: dict[str, Any]) -> None:
        """Append an event while this thread is in the middle of another one."""
        another = Writer(self.home, self.run_id, self._on_open)
        another._pen.greeting = [opening(of=self._joined_id)]
        try:
            another.append(kind, **fields)
        finally:
            another.close()
            with self._tally:
                self._lost += another._lost
                self._lost_reason = another._lost_reason or self._lost_reason

    def _write(self, pen: Pen, kind: type[KnownEvent], fields: dict[str, Any]) -> None:
        try:
            if is_deleted(self._file) or self._is_astray():  # `track` itself has no time to ask
                self._shut(pen)
            first, greeting = pen.n, pen.greeting.copy()
            self._get_ready(pen, kind)
            pen.write(self._file, self._room, kind, fields)
            if self._is_astray():
                self._greet_again(pen, first, greeting, kind)
                self._write_again(pen, kind, fields)
        except OSError as error:
            if error.errno == errno.EBADF:
                self._file = CLOSED  # somebody closed all descriptors, as programs do to be daemons
            elif error.errno in BROKEN:
                self._shut(pen)
            else:
                raise
            self._get_ready(pen, kind)
            pen.write(self._file, self._room, kind, fields)
        if self._has_left:
            self._shut(pen)  # or a run that was left would look alive
        elif self._stays and not self._lost:
            pen.fd = self._file

    def _greet_again(
        self, pen: Pen, first: int, greeting: list[KnownEvent], kind: type[KnownEvent]
    ) -> None:
        """Begin the new spool with what came late to the one that was taken away.

        Args:
            pen: The pen, in hand.
            first: The number of the first event of the greeting.
            greeting: It.
            kind: Of the event that it stands before.
        """
        self._shut(pen)
        self._open()
        n, pen.n = pen.n, first  # under one number it counts once, should both be read
        try:
            for event in greeting:
                pen.say(self._file, self._room, event, kind)
        finally:
            pen.n = n

    def _write_again(self, pen: Pen, kind: type[KnownEvent], fields: dict[str, Any]) -> None:
        """Write the last event to the new spool, too, under its number."""
        n = pen.n
        pen.n = n - 1
        try:
            pen.write(self._file, self._room, kind, fields)
        finally:
            pen.n = n

    def _is_astray(self) -> bool:
        """Tell whether the spool was taken away, as it may be until its lock is had."""
        if self._stays or self._file == CLOSED:
            return False
        is_locked = lock(self._file, attempts=1)
        if leads_elsewhere(self._file, spool_path(self.home, self.run_id)):
            return True
        self._stays = is_locked
        return False

    def _get_ready(self, pen: Pen, kind: type[KnownEvent]) -> None:
        """Open the spool, and write what must stand in it before an event of this kind."""
        self._open()
        self._is_untouched_copy = False
        pen.greet(self._file, self._room, kind)
        lost = self._lost
        if lost:
            told = {"count": lost, "reason": self._lost_reason}
            pen.write(self._file, self._room, Lost, told, kind)
            with self._tally:
                self._lost -= lost

    def _open(self) -> None:
        if self._file == CLOSED:
            self._file, self._stays = open_spool_and_look(self.home, self.run_id)
            self._room = Room()
            self._on_open()

    def _shut(self, pen: Pen) -> None:
        file, self._file, pen.fd = self._file, CLOSED, CLOSED
        with contextlib.suppress(OSError):  # it is closed already
            os.close(file)

    def _put_back(self, error: Exception, pen: Pen | None) -> None:
        """Put the pen back after an error; let pass, without it, what a signal handler raised."""
        if not isinstance(error, NoRoom) and comes_from_signal_handler(error):
            self._renew()
            raise error
        if pen is not None:
            pen.put_back()

    def _lose(self, error: Exception, pen: Pen | None = None) -> None:
        """Count an event that is not in the spool, so that the next line but one says so."""
        if pen is not None and error.__class__ in losses.EXHAUSTED:
            self._renew()  # it may have been raised after the write
        else:
            self._put_back(error, pen)
        with self._tally:
            self._lost_reason = describe(error)[:_MAX_REASON_CHARACTERS]
            self._lost += 1
        self._pen.fd = CLOSED
        try:  # noqa: SIM105  # no call is left for anything else
            losses.report(error, f"run {self.run_id}")
        except losses.EXHAUSTED:
            pass

    def _renew(self) -> None:
        """Go on as a further writer: nobody knows how far the interrupted write had come."""
        pen = self._pen
        self._take_new_pen(pen.successor(self._joined_id))
        if pen.will_join():  # nobody has joined for this process yet
            self._joined_id = self._pen.w

    def become_copy(self) -> None:
        """In a forked child: leave descriptor and lock to the parent, go on as another writer."""
        self._pen.fd = CLOSED  # whoever has it in hand must not write as the parent
        is_in = self._has_joined and not self._has_left
        self._take_new_pen(Pen(opening(worker=True), *([Join()] if is_in else [])))
        self._joined_id = self._pen.w
        self._lost = 0
        self._tally = threading.RLock()
        self._is_untouched_copy = True
        self._shut(self._pen)


_CODES: Final = tuple(m.__code__ for m in vars(Writer).values() if hasattr(m, "__code__"))
