"""What lies in W&B's folders on this machine of one run, whichever process wrote it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from wandb.proto import wandb_internal_pb2

from steplogd.delivery.wandb_frames import State
from steplogd.delivery.wandb_log import LogTail, block_count, paths_of
from steplogd.delivery.wandb_rows import Row, row_from_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FIRST_LOOK_BLOCKS: Final = 4
"""How much of a file's end is read for its last row; twice as much each time it is not there."""

_decode: Final[Any] = wandb_internal_pb2.Record.FromString  # type: ignore[attr-defined]


def logs_of(directory: Path, run_id: str, mode: str) -> list[Path]:
    """Return the transaction logs of a run in the order in which they were begun."""
    return sorted(paths_of(directory, run_id, mode), key=_beginning)


def project_in(path: Path) -> str:
    """Return the project that a log was written for; "" if it does not say."""
    for record in records(LogTail(path)):
        if record.HasField("run"):
            return str(record.run.project)
    return ""


def last_position(path: Path) -> int:
    """Return the position of the last row in a log; 0 if there is none of ours."""
    blocks, count = block_count(path), _FIRST_LOOK_BLOCKS
    while True:
        first = max(0, blocks - count)
        rows = [row_position(record) for record in records(LogTail(path, first))]
        if (found := max(rows, default=0)) or first == 0:
            return found
        count *= 2


def row_position(record: Any) -> int:
    """Return the position of the row in a record; 0 if it is something else."""
    return int(record.history.step.num) if record.HasField("history") else 0


def records(tail: LogTail) -> Iterator[Any]:
    """Return what has become whole in a log since it was last asked."""
    for content in tail.read():
        yield _decode(content)


def make_durable(path: Path) -> None:
    """Return when what is in a file would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Content:
    """What all logs of a run hold together.

    Attributes:
        state: What it holds of the run itself, complete once all rows were taken.
    """

    def __init__(self, logs: Iterable[Path]) -> None:
        self._logs = logs
        self._last = 0
        self.state = State("running", {}, {})

    def rows(self) -> Iterator[Row]:
        """Return our rows, each once, in the order of the run log."""
        for path in self._logs:
            for record in records(LogTail(path)):
                kind = record.WhichOneof("record_type")
                if kind == "history" and (row := self._row(record.history)):
                    yield row
                elif kind in ("run", "config", "summary", "exit"):
                    self._note(record, kind)

    def _row(self, history: Any) -> Row | None:
        if history.step.num <= self._last:
            return None
        self._last = history.step.num
        return row_from_columns(_decoded(history.item))

    def _note(self, record: Any, kind: str) -> None:
        if kind == "run":
            self.state.state = "running"
            self.state.config |= _decoded(record.run.config.update)
        elif kind == "config":
            self.state.config |= _decoded(record.config.update)
        elif kind == "summary":
            self.state.summary |= _decoded(record.summary.update)
        else:
            self.state.state = "failed" if record.exit.exit_code else "finished"


def _decoded(items: Iterable[Any]) -> dict[str, Any]:
    return {_name(item): json.loads(item.value_json) for item in items}


def _name(item: Any) -> str:
    return str(item.key or "/".join(item.nested_key))


def _beginning(path: Path) -> tuple[int, int]:
    """Return when a log was begun: its first record of the run says so."""
    for record in records(LogTail(path)):
        if record.HasField("run"):
            return record.run.start_time.seconds, record.run.start_time.nanos
    return path.stat().st_mtime_ns // 10**9, 0
