"""The kinds of event that a spool holds, one frozen struct each."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

FORMAT_VERSION: Final = 1
"""The version of the spool line that this package writes; see FORMAT.md."""

MAX_LINE_BYTES: Final = 256 * 1024
"""The longest line, its LF included, that a writer may append."""

DEFAULT_TASK: Final = "main"

MAX_NUMBER: Final = 2**48
"""The largest sequence number and count: nine years of a million a second, and sums of many such
still fit into the 64 bits that readers add them up in."""

MAX_TIMESTAMP: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999, which is as far as calendars of readers go."""

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Number = Annotated[int, msgspec.Meta(ge=-1, le=MAX_NUMBER)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
Timestamp = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMESTAMP)]
Status = Literal["SUCCESS", "FAIL"]
TaskField = str | Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
"""A task's name, or the names from the outermost task to it."""


# gc=False: an event is never part of a cycle, and tracking each would cost a tenth of the fold.
class Event(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True, gc=False):
    """What every line may say: who wrote it, its number, and when.

    Attributes:
        w: The writer's id; empty for a program that does not number its lines.
        n: The writer's sequence number, from 0 without gaps; -1 without one.
        ts: Microseconds since the epoch; 0 when the line does not say.
    """

    w: str = ""
    n: Number = -1
    ts: Timestamp = 0


class Open(Event, frozen=True, tag="open", kw_only=True, omit_defaults=False):
    """A writer opened the spool.

    Attributes:
        format: The format version of the lines that it will write.
        pid: Its process id.
        host: The name of its machine.
        of: The writer that the same process joined with, when this is a further one.
        worker: Whether another process of the run answers for this one (a forked child, a worker of
            a pool), so that its vanishing fails nothing.
    """

    format: int = FORMAT_VERSION
    pid: int = 0
    host: str = ""
    of: str = ""
    worker: bool = False


class Join(Event, frozen=True, tag="join", kw_only=True):
    """The writer's process is in the run from now on; the first to join starts the run."""

    tag: str = ""
    parameters: dict[str, Any] = {}
    config: dict[str, Any] = {}


class Leave(Event, frozen=True, tag="leave", kw_only=True):
    """The writer's process is no longer in the run, and says how it ended."""

    status: Status = "SUCCESS"
    message: str = ""


class Start(Event, frozen=True, tag="start", kw_only=True):
    """The writer's process entered a task: a new attempt, or a share in the one under way.

    Attributes:
        step_type: What kind of step the task is in the run log; empty to leave that as it is.
        mock: Whether the task is skipped on purpose: nobody enters it, and it has no attempt.
    """

    task: TaskField = DEFAULT_TASK
    parameters: dict[str, Any] = {}
    step_type: str = ""
    mock: bool = False


class End(Event, frozen=True, tag="end", kw_only=True):
    """The writer's process came out of a task, and says how its part of the attempt ended."""

    task: TaskField = DEFAULT_TASK
    status: Status = "SUCCESS"
    message: str = ""


class Track(Event, frozen=True, tag="track", kw_only=True):
    """Values that a task observed at a step, by key."""

    task: TaskField = DEFAULT_TASK
    step: Int64 = 0
    values: dict[str, Any]


class Catalog(Event, frozen=True, tag="catalog", kw_only=True):
    """A file that a task put into, or got from, the catalog."""

    task: TaskField = DEFAULT_TASK
    name: str
    data_hash: str = ""
    catalog_relative_path: str = ""
    catalog_handler_location: str = ""
    stage: str = "put"


class Code(Event, frozen=True, tag="code", kw_only=True):
    """The identity of the code that a task runs; without a task, of the whole run."""

    task: TaskField = ""
    code_identifier: str
    code_identifier_type: str = "git"
    code_identifier_dependable: bool = False
    code_identifier_url: str = ""
    code_identifier_message: str = ""


class Lost(Event, frozen=True, tag="lost", kw_only=True):
    """The writer could not record `count` calls, and says why."""

    count: Count
    reason: str = ""


KnownEvent = Open | Join | Leave | Start | End | Track | Catalog | Code | Lost


class Unknown(msgspec.Struct, frozen=True):
    """A well-formed line of a kind that this version does not know; it is kept and counted."""

    kind: str
    w: str = ""
    n: int = -1
    ts: int = 0


class Malformed(msgspec.Struct, frozen=True):
    """Bytes of a spool that are no event: a torn write, or something that is not ours.

    Attributes:
        offset: Where the bytes begin in the spool.
        line: The bytes, without their LF.
        reason: One sentence on what is wrong with them.
    """

    offset: int
    line: bytes
    reason: str


def task_field(path: tuple[str, ...]) -> str | tuple[str, ...]:
    """Undo `task_path`: return what stands in a line, a name where that says it all."""
    return path[0] if len(path) == 1 else path


def task_path(task: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names from the outermost task to this one."""
    return (task,) if isinstance(task, str) else task
