"""The sink of `steplog exec`: what is taken from it costs no memory any more."""

from __future__ import annotations

import os

from steplog.execution.sink import Sink

_ENTRY = b"STEPLOG_TRACK_k=" + b"x" * 100_000 + b"\0"


def test_memory_is_bounded_by_what_is_new() -> None:
    """However much was appended in all; and nothing is lost by it."""
    sink = Sink()
    pid, file, _ = sink.address.split()
    appending = os.open(f"/proc/{pid}/fd/{file}", os.O_WRONLY | os.O_APPEND)
    taken = 0
    for _ in range(1000):
        os.write(appending, _ENTRY)
        taken += sum(len(value) for _, value in sink.take())
    held = os.fstat(appending).st_blocks * 512
    os.close(appending)
    sink.close()

    assert 1000 * 100_000 == taken
    assert held < 20 * 1024 * 1024
