"""How it is known that a server has a batch: a mark travels with it, and is read back.

To `log_batch` MLflow answers `{}`, and so may anybody else. But the mark is a tag of the same
request, stored after its metrics: once it is there, they are. It follows from what is sent, so that
one that becomes visible late proves as much when the batch is sent again. Requests that follow one
another have marks of different names, so that some of them are proved by one look.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from steplogd.delivery.contract import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

DELIVERED_TAG: Final = "steplog.delivered"
"""The tag with the position that a run has been delivered to, and a digest of the last metrics."""

MARKS: Final = 4
"""How many requests are proved by one look, which costs the server a sixth of a request."""

_MAX_NAMED: Final = 3


def mark_name(following: int) -> str:
    """Return the tag that marks a request which so many others of the same batch follow.

    The last one's is that which names how far the run has been delivered.
    """
    number = following % MARKS
    return f"{DELIVERED_TAG}.{number}" if number else DELIVERED_TAG


def mark(position: int, digest: str) -> str:
    """Return the mark of metrics, in a batch that ends at this position of the run log."""
    return f"{position} {digest}"


def position_in(tags: Mapping[str, str]) -> int:
    """Return the position that the mark among a run's tags names; 0 without one."""
    with contextlib.suppress(ValueError):
        return int(tags.get(DELIVERED_TAG, "").partition(" ")[0])
    return 0


class Owed:
    """What a server said it took, and has to show before it counts.

    Attributes:
        tags: Texts by name.
        params: The same for params.
        state: The status, and the end in milliseconds if there is one; None if it was not set.
    """

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.params: dict[str, str] = {}
        self.state: tuple[str, int | None] | None = None

    def __bool__(self) -> bool:
        return bool(self.tags or self.params or self.state)

    def missing_in(self, run: Run) -> list[str]:
        """Return the names of what a run has not got."""
        missing = [name for name, text in self.tags.items() if run.data.tags.get(name) != text]
        missing += [n for n, text in self.params.items() if run.data.params.get(n) != text]
        if self.state is None:
            return missing
        status, end_ms = self.state
        is_as_told = run.info.status == status and end_ms in (None, run.info.end_time)
        return missing if is_as_told else [*missing, "status"]


def prove(client: MlflowClient, mlflow_id: str, owed: Owed) -> Run:
    """Make sure that a run has what is owed; return it as MLflow has it now.

    Raises:
        Unavailable: It has not, whatever was said before.
    """
    run = client.get_run(mlflow_id)
    if run.info.run_id != mlflow_id:
        raise Unavailable("MLflow gave back another run than was asked for")
    if missing := owed.missing_in(run):
        named = ", ".join(repr(name) for name in missing[:_MAX_NAMED])
        raise Unavailable(
            f"MLflow said yes to what it does not have ({len(missing)}: {named}): does a proxy "
            "answer for it?"
        )
    return run
