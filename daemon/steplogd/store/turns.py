"""Turns in the store: who waits for one, and whether anybody has had one."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from steplogd.store.disk_wait import waits_for_disk

if TYPE_CHECKING:
    from collections.abc import Iterator


class Turns:
    """A lock that tells, from any thread, whether those who wait for it get on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._had = 0
        self._waiting: set[int] = set()
        self._is_patient = False
        self._has_turn = 0

    def __enter__(self) -> None:
        with self._waits():
            self._lock.acquire()
        self._has_turn = threading.get_native_id()

    def __exit__(self, *_: object) -> None:
        self._had += 1
        self._lock.release()

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Mark that whoever has the turn does what ends by itself, but may take long.

        Another program's lock is waited for, say, or the whole store is read.
        """
        self._is_patient = True
        try:
            with self._waits():
                yield
        finally:
            self._is_patient = False

    def pulse(self, thread: int) -> object:
        """Return what changes for as long as a thread that waits gets nearer to its turn.

        None for a thread that waits for none. Threads go by their native ids.
        """
        if thread not in self._waiting:
            return None
        is_excused = self._is_patient or waits_for_disk(self._has_turn)
        return time.monotonic() if is_excused else self._had

    @contextlib.contextmanager
    def _waits(self) -> Iterator[None]:
        thread = threading.get_native_id()
        self._waiting.add(thread)
        try:
            yield
        finally:
            self._waiting.discard(thread)
