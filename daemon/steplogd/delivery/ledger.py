"""The ledger: what delivery needs of the store, which it does not import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ObservationRow = tuple[int, tuple[str, ...], int, str, int, int, Any]
"""The fields of an `Observation`."""


class PendingRun(Protocol):
    """What a backend owes a run; see the store."""

    @property
    def run(self) -> dict[str, Any]:
        """The run's row, by column."""

    @property
    def rows(self) -> list[ObservationRow]:
        """Observations after the cursor."""

    @property
    def due(self) -> list[ObservationRow]:
        """Dead letters before it that are to be sent once more."""

    @property
    def is_settled(self) -> bool:
        """Whether the run's own state was sent as it is now."""

    @property
    def replay(self) -> int:
        """How often the cursor was set back; what is acknowledged names it."""

    @property
    def after(self) -> int:
        """Where the cursor is."""

    @property
    def is_doubtful(self) -> bool:
        """Whether the backend may hold more than its cursor says: the store was lost."""


class Ledger(Protocol):
    """The store, as far as delivery needs it."""

    def behind(self, backend: str) -> list[int]:
        """Return the numbers of the runs that a backend is behind with."""

    def pending(self, backend: str, run_no: int, count: int, size_bytes: int) -> PendingRun:
        """Return what a backend owes a run next."""

    def observations(self, run_no: int, last: int) -> Iterator[ObservationRow]:
        """Go through a run's observations up to a position."""

    def acknowledge(
        self,
        backend: str,
        run_no: int,
        position: int,
        dead: dict[int, str] | None = None,
        *,
        replay: int = 0,
    ) -> None:
        """Move the cursor to a position, with the dead letters up to it."""

    def retried(
        self,
        backend: str,
        run_no: int,
        positions: Sequence[int],
        refusal: str = "",
        *,
        replay: int = 0,
    ) -> None:
        """Note that dead letters were taken after all, or refused once more."""

    def settle(
        self, backend: str, run_no: int, revision: int, refusal: str = "", *, replay: int = 0
    ) -> None:
        """Note that the run's own state was sent, or refused."""

    def note_counterpart(self, backend: str, run_no: int, address: dict[str, str]) -> None:
        """Note where a client in a task finds the run in the tracker."""

    def note_health(self, backend: str, error: str) -> None:
        """Note that a backend fails, or with no error that it answers."""
