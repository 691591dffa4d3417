"""Finds out how far a run has become durable: nothing that W&B answers says so.

Offline, what wandb-core has written is read back from its transaction log, and made to survive a
power cut. Online, the server is asked for the last row: rows reach it in their order, so that all
before it are there too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import wandb

from steplogd.delivery.wandb_folders import make_durable, records, row_position
from steplogd.delivery.wandb_log import LogTail
from steplogd.delivery.wandb_names import OWN_PREFIX, STEP_COLUMN

if TYPE_CHECKING:
    from steplogd.delivery.wandb_frames import Place


class Proof(Protocol):
    """Tells how far a run is durable where it belongs."""

    def begin(self, run: wandb.Run) -> None:
        """Look after what is written to a run from now on."""

    def position(self, wanted: int) -> int:
        """Return the position of a row that is durable, as all before it; the wanted one maybe."""

    def settlements(self) -> int | None:
        """Return how often the run's summary spoke of the run itself; None if nobody can tell."""


def proof_of(place: Place) -> Proof:
    """Return what tells how far a run is durable."""
    return LocalProof() if place.mode == "offline" else ServerProof(place)


class LocalProof:
    """What the transaction log says, once it would survive a power cut."""

    def __init__(self) -> None:
        self._tail: LogTail | None = None
        self._path = Path()
        self._position = 0
        self._settlements = 0

    def begin(self, run: wandb.Run) -> None:
        """Read the log that the run is written to."""
        self._path = Path(run.settings.sync_file)
        self._tail = LogTail(self._path)

    def position(self, wanted: int) -> int:
        """Read what is new in the log."""
        self._read()
        return self._position

    def settlements(self) -> int | None:
        """Read what is new in the log."""
        self._read()
        return self._settlements

    def _read(self) -> None:
        assert self._tail is not None  # noqa: S101
        position, settlements = self._position, self._settlements
        for record in records(self._tail):
            position = max(position, row_position(record))
            items = record.summary.update if record.HasField("summary") else ()
            settlements += any(item.key == f"{OWN_PREFIX}status" for item in items)
        if (position, settlements) != (self._position, self._settlements):
            make_durable(self._path)
            self._position, self._settlements = position, settlements


class ServerProof:
    """What the server says.

    Args:
        place: Which server.
    """

    def __init__(self, place: Place) -> None:
        overrides = {"base_url": place.base_url} if place.base_url else {}
        self._overrides = overrides
        self._path = ""
        self._position = 0

    def begin(self, run: wandb.Run) -> None:
        """Take the server's word for where the run stands."""
        self._path = run.path
        self._position = max(0, run.starting_step - 1)

    def position(self, wanted: int) -> int:
        """Ask the server for the row of the position that is wanted."""
        if wanted > self._position and self._has(wanted):
            self._position = wanted
        return self._position

    def settlements(self) -> int | None:
        """Say that nobody can tell: the end of the run says all of it once more, and waits."""
        return None

    def _has(self, position: int) -> bool:
        found = wandb.Api(overrides=self._overrides).run(self._path)
        rows = found.scan_history(
            keys=[STEP_COLUMN], min_step=position, max_step=position + 1, use_cache=False
        )
        return any(True for _ in rows)
