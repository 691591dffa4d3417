"""TensorBoard's event file, written by tensorboardX; read back record by record."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from benchmarks.peers.values import LOSS, TEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.peers.values import Tracker


def begin(folder: Path, setting: str) -> Tracker:
    """Open a writer; "flushed" calls what its documentation has for "written to disk"."""
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder / "events"))
    return _Flushed(writer) if setting == "flushed" else _Tracker(writer)


class _Tracker:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def one(self, step: int) -> None:
        self._writer.add_scalar("loss", LOSS, step)

    def ten(self, step: int) -> None:
        for name, one in TEN.items():
            self._writer.add_scalar(name, one, step)

    def finish(self) -> None:
        self._writer.close()


class _Flushed(_Tracker):
    def one(self, step: int) -> None:
        super().one(step)
        self._writer.flush()

    def ten(self, step: int) -> None:
        super().ten(step)
        self._writer.flush()


def count(folder: Path, _: str) -> int:
    """Count the events that have a scalar."""
    from tensorboardX.proto.event_pb2 import Event

    files = (folder / "events").glob("events.*")
    records = (record for file in files for record in _records(file.read_bytes()))
    return sum(len(Event.FromString(record).summary.value) for record in records)


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the whole records: length, its checksum, the record, its checksum."""
    at = 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        end = at + 12 + length + 4
        if end > len(content):
            return
        yield content[at + 12 : at + 12 + length]
        at = end
