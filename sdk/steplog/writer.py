"""The writer: one process's numbered lines in the spool of one run, each at the cost of a write."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from steplog import losses
from steplog.encoding import as_step, check_size, encode_line, prepare
from steplog.events import MAX_LINE_BYTES, Join, Leave, Lost, Open, Track
from steplog.names import new_writer_id
from steplog.spool import TornWrite, open_spool, write_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from steplog.events import KnownEvent, TaskField

_CLOSED: Final = -1
_INT64: Final = 2**63
_PLAIN: Final = (float, int)
_CONTENDED_SLEEP_SECONDS: Final = 50e-6
_MAX_REASON_CHARACTERS: Final = 500
_VALUE_FIELDS: Final = ("values", "parameters", "config")

_write: Final = os.write
_now_ns: Final = time.time_ns

_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


class Writer:
    """Appends the events of this process to the spool of one run.

    One event is one line, and one `write(2)` with O_APPEND: on return it is in the file, whatever
    is killed next (a power cut may take what the kernel had not flushed). Lines are numbered
    without gaps in the order of the file, from any number of threads. A forked child goes on as a
    writer of its own. A signal handler or a destructor that interrupts a write of its own thread
    writes its line as a further writer, and never waits.

    Nothing is raised but `TrackingError`, and that only when `configure(strict=True)` asks for it:
    what cannot be recorded is counted, warned of once, and told in the spool when there is room.

    Args:
        home: Where the spools lie.
        run_id: A valid run id.
        on_open: Called whenever the spool was opened, in a forked child too.
        fd: The spool, when it is open already.
    """

    def __init__(
        self, home: Path, run_id: str, on_open: Callable[[], None], fd: int = _CLOSED
    ) -> None:
        self.home = home
        self.run_id = run_id
        self.id = new_writer_id()
        self._on_open = on_open
        self._file = fd
        # The fast path writes here; closed while something else has to be written first.
        self._fd = _CLOSED
        self._next = 0
        # Whoever pops the one item may number and write: far cheaper than a lock.
        self._free: list[None] = [None]
        self._turn = threading.RLock()
        self._torn = False
        self._lost = 0
        self._lost_reason = ""
        self._joined: dict[str, Any] | None = None
        self._joined_id = self.id
        self._untouched_copy = False
        self._greeting: list[KnownEvent] = [_opening()]
        _watch_forks()
        _writers.add(self)

    def track(self, task: TaskField, step: int, values: dict[str, Any]) -> None:
        """Append what a task observed at a step."""
        try:
            # The sum of all values is a finite number only if each of them is: one look in C at all.
            total = sum(values.values())
            if (
                isinstance(total, _PLAIN)
                and total - total == 0
                and step.__class__ is int
                and -_INT64 <= step < _INT64
            ):
                free = self._free
                free.pop()
                try:
                    stamp = _now_ns() // 1000
                    line = encode_line(
                        Track(self.id, self._next, stamp, task=task, step=step, values=values)
                    )
                    size = len(line)
                    if size <= MAX_LINE_BYTES:
                        if _write(self._fd, line) == size:
                            self._next += 1
                            return
                        self._torn = True
                finally:
                    free.append(None)
        except Exception:  # noqa: BLE001, S110  # `append` meets the cause again, and deals with it
            pass
        except BaseException:
            self._renew()
            raise
        self.append(Track, task=task, step=step, values=values)

    def append(self, kind: type[KnownEvent], **fields: Any) -> None:
        """Append an event of any kind; its writer, number and time are added here."""
        try:
            _prepare(fields)
            free = self._own()
            if free is None:
                self._append_as_another(kind, fields)
                return
            try:
                self._get_ready()
                self._put(kind, fields)
                self._fd = self._file
            finally:
                free.append(None)
        except Exception as error:  # noqa: BLE001  # a value's own conversion may raise anything
            self._lose(error)
        except BaseException:
            self._renew()
            raise

    def join(self, tag: str, parameters: dict[str, Any], config: dict[str, Any]) -> None:
        """Say that this process is in the run: now, or as soon as the spool can be written.

        A parameter that cannot be encoded costs itself alone.
        """
        self._joined = {"tag": tag, "parameters": self._encodable(parameters), "config": config}
        self._greeting.append(Join(**self._joined))
        self._fd = _CLOSED
        free = self._own()
        if free is None:
            return
        try:
            self._get_ready()
        except Exception as error:  # noqa: BLE001  # tried again before the next event
            losses.report(error, f"run {self.run_id}")
        finally:
            free.append(None)

    def leave(self, status: str, message: str) -> None:
        """Say that this process is out of the run, and how it ended; then close the spool."""
        if not self._untouched_copy:
            self.append(Leave, status=status, message=message)
        self._joined = None
        self.close()

    def close(self) -> None:
        """Let go of the spool and its lock; an event that comes later opens it again."""
        free = self._own()
        if free is None or self._file == _CLOSED:
            return
        try:
            os.close(self._file)
        finally:
            self._file = self._fd = _CLOSED
            free.append(None)

    def _own(self) -> list[None] | None:
        """Wait for the right to number and write; None when this thread has it further down."""
        with self._turn:
            while True:
                free = self._free
                try:
                    free.pop()
                except IndexError:
                    if self._interrupts_itself():
                        return None
                    time.sleep(_CONTENDED_SLEEP_SECONDS)
                else:
                    return free

    def _interrupts_itself(self) -> bool:
        """Tell whether a call of ours lies below the one that asks, on this thread's stack."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        while frame is not None:
            if frame.f_code.co_filename == __file__ and frame.f_locals.get("self") is self:
                return True
            frame = frame.f_back
        return False

    def _append_as_another(self, kind: type[KnownEvent], fields: dict[str, Any]) -> None:
        """Append an event while this thread is in the middle of another one."""
        another = Writer(self.home, self.run_id, self._on_open)
        another._greeting = [_opening(of=self._joined_id)]
        another.append(kind, **fields)
        another.close()

    def _get_ready(self) -> None:
        """Open the spool, and write what must stand in it before the next event."""
        if self._file == _CLOSED:
            self._file = open_spool(self.home, self.run_id)
            self._on_open()
        self._untouched_copy = False
        while self._greeting:
            greeting = self._greeting[0]
            self._put(type(greeting), _fields(greeting))
            self._greeting.pop(0)
        with self._turn:
            lost, reason = self._lost, self._lost_reason
        if lost:
            self._put(Lost, {"count": lost, "reason": reason})
            with self._turn:
                self._lost -= lost

    def _put(self, kind: type[KnownEvent], fields: dict[str, Any]) -> None:
        line = check_size(encode_line(kind(self.id, self._next, _now_ns() // 1000, **fields)))
        try:
            write_line(self._file, b"\n" + line if self._torn else line)
        except TornWrite:
            self._torn = True
            raise
        self._torn = False
        self._next += 1

    def _lose(self, error: Exception) -> None:
        """Count an event that is not in the spool, so that the next line but one says so."""
        with self._turn:
            self._lost += 1
            self._lost_reason = f"{type(error).__name__}: {error}"[:_MAX_REASON_CHARACTERS]
            self._fd = _CLOSED
        losses.report(error, f"run {self.run_id}")

    def _encodable(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters that can be encoded; the others are lost one by one."""
        kept: dict[str, Any] = {}
        for key, value in parameters.items():
            try:
                check_size(prepare({**kept, key: value}))
                kept[key] = value
            except Exception as error:  # noqa: BLE001  # a value's own conversion may raise anything
                self._lose(error)
        return kept

    def _renew(self) -> None:
        """Go on as a further writer: nobody knows how far the interrupted write had come."""
        self.id = new_writer_id()
        self._free = [None]
        self._next = 0
        self._fd = _CLOSED
        self._torn = True  # perhaps; an empty line more is nobody's concern
        if not any(isinstance(greeting, Open) for greeting in self._greeting):
            self._greeting.insert(0, _opening(of=self._joined_id))

    def _become_copy(self) -> None:
        """In a forked child: leave descriptor and lock to the parent, go on as another writer."""
        if self._file != _CLOSED:
            os.close(self._file)
        self.id = self._joined_id = new_writer_id()
        self._file = self._fd = _CLOSED
        self._next = self._lost = 0
        self._torn = False
        self._free = [None]
        self._turn = threading.RLock()
        self._untouched_copy = True
        self._greeting = [_opening(worker=True)]
        if self._joined is not None:
            self._greeting.append(Join())


def _prepare(fields: dict[str, Any]) -> None:
    for name in _VALUE_FIELDS:
        if name in fields:
            fields[name] = prepare(fields[name])
    if "step" in fields:
        fields["step"] = as_step(fields["step"])


def _fields(event: KnownEvent) -> dict[str, Any]:
    fields = {name: getattr(event, name) for name in event.__struct_fields__[3:]}
    _prepare(fields)
    return fields


def _opening(of: str = "", *, worker: bool = False) -> Open:
    """Say who opens; a worker of a multiprocessing pool is its parent's to answer for."""
    process = sys.modules.get("multiprocessing.process")
    worker = worker or (process is not None and process.parent_process() is not None)
    return Open(pid=os.getpid(), host=os.uname().nodename, of=of, worker=worker)


_forks_watched = False


def _watch_forks() -> None:
    global _forks_watched
    if not _forks_watched:
        _forks_watched = True
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    for writer in list(_writers):
        writer._become_copy()
