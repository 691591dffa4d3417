"""Finds out how far a run has become durable: nothing that W&B answers says so.

Offline, what wandb-core has written is read back from its transaction log, and made to survive a
power cut. Online, the server is asked for the last row: rows reach it in their order, so that all
before it are there too.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import wandb

from steplogd.delivery.contract import Unavailable
from steplogd.delivery.wandb_folders import make_durable, records
from steplogd.delivery.wandb_log import LogTail
from steplogd.delivery.wandb_names import OWN_PREFIX, STEP_COLUMN

if TYPE_CHECKING:
    from steplogd.delivery.wandb_frames import Place
    from steplogd.delivery.wandb_rows import Row


_OWN_COLUMNS: Final = 2
"""Each row has its step and its time as well."""


class Proof(Protocol):
    """Tells how far a run is durable where it belongs."""

    def begin(self, run: wandb.Run) -> None:
        """Look after what is written to a run from now on."""

    def expect(self, row: Row) -> None:
        """Look after a row that W&B was given."""

    def position(self) -> int:
        """Return the position of a row that is durable, as are all before it.

        Raises:
            Unavailable: A row is missing, or part of one.
        """

    def settlements(self) -> int | None:
        """Return how many words on the run itself are durable; None if nobody can tell.

        Each summary that has its status is one, and so is its exit.
        """


def proof_of(place: Place) -> Proof:
    """Return what tells how far a run is durable."""
    return LocalProof() if place.mode == "offline" else ServerProof()


class LocalProof:
    """What the transaction log says, once it would survive a power cut."""

    def __init__(self) -> None:
        self._tail: LogTail | None = None
        self._path = Path()
        self._expected: deque[tuple[int, int]] = deque()
        self._position = 0
        self._settlements = 0

    def begin(self, run: wandb.Run) -> None:
        """Read the log that the run is written to."""
        self._path = Path(run.settings.sync_file)
        self._tail = LogTail(self._path)
        for folder in self._path.parents[:2]:
            make_durable(folder)

    def expect(self, row: Row) -> None:
        """Note what must be found in the log."""
        self._expected.append((row.position, len(row.cells) + _OWN_COLUMNS))

    def position(self) -> int:
        """Read what is new in the log."""
        self._read()
        return self._position

    def settlements(self) -> int | None:
        """Read what is new in the log."""
        self._read()
        return self._settlements

    def _read(self) -> None:
        assert self._tail is not None  # noqa: S101
        found = [(record.WhichOneof("record_type"), record) for record in records(self._tail)]
        rows = [record.history for kind, record in found if kind == "history"]
        words = [record for kind, record in found if kind == "exit" or _is_word(kind, record)]
        if rows or words:
            make_durable(self._path)
        for row in rows:
            self._check(row)
        self._settlements += len(words)

    def _check(self, row: Any) -> None:
        """Compare a row with what W&B was given."""
        position, cells = self._expected[0] if self._expected else (0, 0)
        if row.step.num != position or len(row.item) < cells:
            raise Unavailable(f"W&B lost values of the run log's position {position}")
        self._expected.popleft()
        self._position = position


def _is_word(kind: str, record: Any) -> bool:
    items = record.summary.update if kind == "summary" else ()
    return any(item.key == f"{OWN_PREFIX}status" for item in items)


class ServerProof:
    """What the server says."""

    def __init__(self) -> None:
        self._path = ""
        self._position = 0
        self._wanted = 0

    def begin(self, run: wandb.Run) -> None:
        """Take the server's word for where the run stands."""
        self._path = run.path
        self._position = max(0, run.starting_step - 1)

    def expect(self, row: Row) -> None:
        """Note what to ask for."""
        self._wanted = row.position

    def position(self) -> int:
        """Ask the server for the last row."""
        if self._wanted > self._position and self._has(self._wanted):
            self._position = self._wanted
        return self._position

    def settlements(self) -> int | None:
        """Say that nobody can tell: the end of the run says all of it once more, and waits."""
        return None

    def _has(self, position: int) -> bool:
        found = wandb.Api().run(self._path)
        rows = found.scan_history(
            keys=[STEP_COLUMN], min_step=position, max_step=position + 1, use_cache=False
        )
        return any(True for _ in rows)
