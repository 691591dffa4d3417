"""What the daemon and the child process that runs W&B say to each other, and how it is framed.

A frame is its length in four bytes, and a message in MessagePack. The daemon asks, the child
answers each question once, but for `Read`, whose answer is any number of `Rows` before its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from steplogd.delivery.wandb_rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH_BYTES: Final = 4


class Place(msgspec.Struct, frozen=True):
    """Where runs go.

    Attributes:
        mode: online or offline.
        entity: Who owns the project; "" is W&B's default.
        base_url: Which server; "" is W&B's default.
        directory: Where W&B keeps its files.
    """

    mode: str
    entity: str
    base_url: str
    directory: str


class Begin(msgspec.Struct, tag=True):
    """Comes first: says where all runs go; answered by `Done`."""

    place: Place


class Open(msgspec.Struct, tag=True):
    """Find a run, or make it; answered by `Opened`."""

    id: str
    name: str
    project: str
    config: dict[str, Any]


class Log(msgspec.Struct, tag=True):
    """Write rows; answered by `Done` before they are durable."""

    id: str
    rows: list[Row]


class Ask(msgspec.Struct, tag=True):
    """Ask how far the rows are durable; answered by `Durable`."""

    id: str


class Settle(msgspec.Struct, tag=True):
    """Say what is known of the run itself, and end it if it has an exit code; answered by `Done`.

    It is durable then.
    """

    id: str
    config: dict[str, Any]
    summary: dict[str, Any]
    exit_code: int | None


class Read(msgspec.Struct, tag=True):
    """Read a run back; answered by any number of `Rows`, and then by `State`."""

    id: str
    project: str


class Greet(msgspec.Struct, tag=True):
    """Ask the server who we are; answered by `Greeted`."""


class Done(msgspec.Struct, tag=True):
    """It was done."""


class Opened(msgspec.Struct, tag=True):
    """The run is there.

    Attributes:
        position: The last one that was written of it; what comes up to there is there already.
        project: Where it lies, which may be where an earlier daemon began it.
        entity: Who owns that, as far as it is known.
    """

    position: int
    project: str
    entity: str


class Greeted(msgspec.Struct, tag=True):
    """The server lets us in.

    Attributes:
        user: Who we are there.
        entity: Who owns what we begin, unless another is named.
    """

    user: str
    entity: str


class Durable(msgspec.Struct, tag=True):
    """All rows up to a position are durable."""

    position: int


class Rows(msgspec.Struct, tag=True):
    """Some of the rows that W&B holds."""

    rows: list[Row]


class State(msgspec.Struct, tag=True):
    """What it holds of the run itself: running, finished or failed, and what else is known."""

    state: str
    config: dict[str, Any]
    summary: dict[str, Any]


class Failed(msgspec.Struct, tag=True):
    """It could not be done.

    Attributes:
        message: Why, in one sentence.
        is_refused: Whether it will never be.
        is_broken: Whether the child is of no more use.
    """

    message: str
    is_refused: bool = False
    is_broken: bool = False


Request: TypeAlias = Begin | Open | Log | Ask | Settle | Read | Greet
Answer: TypeAlias = Done | Opened | Greeted | Durable | Rows | State | Failed

_encoder: Final = msgspec.msgpack.Encoder()
_requests: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_answers: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)


def to_frame(message: Request | Answer) -> bytes:
    """Return a message as one frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def next_request(read: Callable[[int], bytes]) -> Request:
    """Read one frame of the daemon's; `read` returns exactly as many bytes as it is asked for."""
    return _requests.decode(read(int.from_bytes(read(LENGTH_BYTES), "big")))


def next_answer(read: Callable[[int], bytes]) -> Answer:
    """Read one frame of the child's."""
    return _answers.decode(read(int.from_bytes(read(LENGTH_BYTES), "big")))
