"""Where backends stand with a run, for those who look from outside; and setting them back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from steplogd.store.cursors import cursor_of, doubt_of
from steplogd.store.observations import ObservationRow, observations_between, run_row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from steplogd.store.database import Database


class Standing(msgspec.Struct, frozen=True):
    """How far a backend is with one run, as of one moment.

    Attributes:
        run: The run's row, by column.
        position: Of the last observation that the backend acknowledged.
        revision: Of the run's own state that it has.
        replay: How often its cursor was set back.
        letters: Why it refused what it acknowledged, by position; 0 is the run's own state.
        due: How many of these observations are to be sent once more.
        doubt: Up to which position the run may have been folded and sent before, by a store that
            was lost: with another time, where a line says none.
    """

    run: dict[str, Any]
    position: int
    revision: int
    replay: int
    letters: dict[int, str]
    due: int
    doubt: int

    @property
    def behind(self) -> int:
        """How many observations the backend still owes."""
        return int(self.run["position"]) - self.position + self.due

    @property
    def is_settled(self) -> bool:
        """Whether the backend was told of the run's own state as it is."""
        return bool(self.revision >= self.run["revision"])


class Standings:
    """Reads where backends stand, and sets them back; safe beside a daemon that delivers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def runs(self, run_id: str | None = None) -> dict[int, str]:
        """Return the ids of all runs, or of this one alone, by number; what is unknown is not."""
        sql = "SELECT run_no, run_id FROM run WHERE ? IN (run_id, '') ORDER BY run_no"
        with self._database.reading() as connection:
            return dict(connection.execute(sql, (run_id or "",)))

    def acknowledged(self, backend: str, run_nos: Collection[int]) -> int:
        """Return how many observations of these runs a backend has acknowledged."""
        sql = (
            "SELECT coalesce(sum(position), 0) FROM cursor "
            "WHERE backend = ? AND run_no IN (SELECT value FROM json_each(?))"
        )
        with self._database.reading() as connection:
            (count,) = connection.execute(sql, (backend, json.dumps(list(run_nos)))).fetchone()
        return int(count)

    def of(self, backend: str, run_no: int) -> Standing:
        """Return how far a backend is with a run."""
        sql = "SELECT position, reason, is_due FROM dead_letter WHERE backend = ? AND run_no = ?"
        with self._database.reading() as connection:
            connection.execute("BEGIN")
            try:
                run = run_row(connection, run_no)
                cursor = cursor_of(connection, backend, run_no)
                letters = list(connection.execute(sql, (backend, run_no)))
                doubt = doubt_of(connection, run["run_id"])
            finally:
                connection.execute("COMMIT")
        due = sum(1 for position, _, is_due in letters if position and is_due)
        return Standing(run, *cursor, _reasons(letters), due, doubt)

    def observations(self, run_no: int, after: int, last: int) -> Iterator[ObservationRow]:
        """Go through a run's observations between two positions, the second one included."""
        return observations_between(self._database, run_no, after, last)

    def observation(self, run_no: int, position: int) -> ObservationRow | None:
        """Return one observation; None where there is none, as at position 0."""
        return next(self.observations(run_no, position - 1, position), None) if position else None

    def set_back(self, backend: str, run_id: str | None = None) -> int:
        """Have a backend get a run, or all of them, from the start; return how many they are.

        Its dead letters are dropped: they come again if they are refused again. What is in flight
        now is not acknowledged when it arrives.
        """
        with self._database.transaction() as connection:
            chosen = {"backend": backend, "run_id": run_id or ""}
            runs = "SELECT run_no FROM run WHERE :run_id IN (run_id, '')"
            count = connection.execute(
                "INSERT INTO cursor SELECT :backend, run_no, 0, 0, 1 FROM run "
                "WHERE :run_id IN (run_id, '') ON CONFLICT (backend, run_no) "
                "DO UPDATE SET position = 0, revision = 0, replay = replay + 1",
                chosen,
            ).rowcount
            connection.execute(
                f"DELETE FROM dead_letter WHERE backend = :backend AND run_no IN ({runs})",  # noqa: S608
                chosen,
            )
        return count


def _reasons(letters: Iterable[tuple[int, str, bool]]) -> dict[int, str]:
    return {position: reason for position, reason, _ in letters}
