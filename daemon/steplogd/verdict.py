"""What comes of reading a backend back: where it differs from the run log, and how far it is."""

from __future__ import annotations

import msgspec


class Difference(msgspec.Struct, frozen=True):
    """One thing that a backend holds otherwise than the run log, or not at all, or too much.

    Attributes:
        backend: Whose.
        run_id: Of which run.
        kind: `metric`, `parameter`, or `run` for its status and the like.
        name: What the tracker calls it.
        task: The names from the outermost task to the one that tracked it; empty for what no task
            tracked, and for what the run log does not have.
        key: The key that it was tracked under; "" likewise.
        step: Its step.
        ts: When it was tracked, in the tracker's own unit; 0 where it does not keep that.
        expected: The value that should be there, in the tracker's own terms; None for none.
        found: The value that is there; None for none.
        reason: Why, where that is known: as a dead letter says it.
    """

    backend: str
    run_id: str
    kind: str
    name: str
    task: tuple[str, ...] = ()
    key: str = ""
    step: int = 0
    ts: int = 0
    expected: str | None = None
    found: str | None = None
    reason: str = ""


class Verdict(msgspec.Struct):
    """What was found out of one backend.

    Attributes:
        backend: Its name.
        runs: How many runs were compared.
        points: How many points are as they should be.
        runs_behind: Runs that it was not told all of yet.
        observations_behind: Observations of them that it has not acknowledged.
        differences: What differs of what it acknowledged.
        error: Why it could not be read, or not to its end; "" otherwise.
    """

    backend: str
    runs: int = 0
    points: int = 0
    runs_behind: int = 0
    observations_behind: int = 0
    differences: list[Difference] = []
    error: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether the backend holds all of the run log, and nothing else under its names."""
        return not (self.runs_behind or self.differences or self.error)
