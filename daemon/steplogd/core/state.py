"""What the fold knows of a run: all that the next event may depend on, and no observation."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from steplog.events import Malformed

PROCESSING: Final = "PROCESSING"
SUCCESS: Final = "SUCCESS"
FAIL: Final = "FAIL"

MOST: Final = 2**63 - 1
"""Counters stop here: SQLite has no larger integer, and a hostile line must not stop the fold."""

MOST_SET_ASIDE: Final = 1000
"""Pieces of a run's spool that are kept with their place and reason; further ones are counted, as
a spool of garbage must not fill the store. The spool has them all."""

Presence = Literal["visitor", "in", "left", "vanished"]


class Attempt(msgspec.Struct):
    """One attempt of a task; `end_ts` is None while anybody is in it."""

    number: int
    start_ts: int
    end_ts: int | None = None
    status: str = PROCESSING
    message: str = ""
    parameters: dict[str, Any] = {}


class Task(msgspec.Struct):
    """A task of a run, with its latest attempt.

    Attributes:
        no: Its place in the order of appearance, from 0.
        path: The names from the outermost task to it.
        step_type: What kind of step it is in the run log: a task, or the run's terminal step.
        mock: Whether it was skipped on purpose.
        occupants: How often it was entered and not come out of.
    """

    no: int
    path: tuple[str, ...]
    status: str = PROCESSING
    message: str = ""
    step_type: str = "task"
    mock: bool = False
    attempt: Attempt | None = None
    occupants: int = 0


class Writer(msgspec.Struct):
    """A writer of the run's spool, and whether its process is in the run.

    Attributes:
        next_n: The sequence number that comes next.
        status: How it left; "" before.
        of: The writer whose presence counts for it: itself, but for a process's further writers.
        worker: Whether another process answers for it, so that its vanishing fails nothing.
        inside: How often it entered each task, by the task's number.
    """

    w: str
    next_n: int = 0
    presence: Presence = "visitor"
    status: str = ""
    of: str = ""
    worker: bool = False
    inside: dict[int, int] = {}


class RunState(msgspec.Struct):
    """A run as it is folded so far; its size depends on tasks, keys and writers, never on steps."""

    run_id: str
    tag: str = ""
    status: str = PROCESSING
    killed: bool = False
    message: str = ""
    start_ts: int = 0
    end_ts: int | None = None
    last_ts: int = 0
    parameters: dict[str, Any] = {}
    config: dict[str, Any] = {}
    position: int = 0
    revision: int = 0
    lost: int = 0
    gaps: int = 0
    repeated: int = 0
    unknown: int = 0
    malformed: int = 0
    tasks: list[Task] = []
    task_by_path: dict[tuple[str, ...], Task] = {}
    series: dict[tuple[int, int], dict[str, int]] = {}
    series_count: int = 0
    writers: dict[str, Writer] = {}

    def members(self) -> list[Writer]:
        """Return those who are in the run, or were."""
        return [writer for writer in self.writers.values() if writer.presence != "visitor"]

    def has_members(self) -> bool:
        """Tell whether anybody is or was in the run, other than visitors."""
        return any(writer.presence != "visitor" for writer in self.writers.values())

    def is_anybody_in(self) -> bool:
        """Tell whether somebody joined and has neither left nor vanished."""
        return any(writer.presence == "in" for writer in self.writers.values())


Row = tuple[int, int, int, int, float | int | str]
"""An observation: position, series number, step, ts, value column."""


class Changes(msgspec.Struct):
    """What a fold changed, for the store to write: new rows, and what is to be written anew.

    Attributes:
        has_arrival: Whether somebody came into the run, though he may have left since.
        gaps: Missing sequence numbers: whose, the first and the last.
    """

    observations: list[Row] = []
    series: list[tuple[int, int, int, str]] = []
    tasks: set[int] = set()
    attempts: dict[tuple[int, int], Attempt] = {}
    writers: set[str] = set()
    has_arrival: bool = False
    codes: list[tuple[int, dict[str, Any]]] = []
    catalog: list[tuple[int, dict[str, Any]]] = []
    set_aside: list[Malformed] = []
    gaps: list[tuple[str, int, int]] = []
