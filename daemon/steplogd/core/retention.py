"""Retention: which finished runs' spools are to be archived, in which order, given the facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Action = Literal["keep", "compress", "remove"]
ACTIONS: Final[tuple[Action, ...]] = ("keep", "compress", "remove")

_DAY_SECONDS: Final = 24 * 60 * 60
_MICROSECONDS: Final = 1_000_000
_BEFORE_ALL_TIMES: Final = -(2.0**62)
_END_OF_TIMES: Final = 2**63 - 1


class Policy(msgspec.Struct, frozen=True):
    """What becomes of the spools of runs that ended: the table `[retention]`.

    The run log, and `runs/`, keep all of a run whatever becomes of its spool. What a removed spool
    takes with it is that the run can be folded again, if the store is lost.

    Attributes:
        action: `keep` lets them lie, `compress` makes them some ten times smaller, and
            `remove` deletes them. What a run log has only counted, lines of kinds that this
            version does not know and what is no event, is in the spool alone: spools of runs with
            any of it are compressed instead, and stay so.
        after_days: For how long a run has ended and its spool has not been written to before that
            is done; a part of a day too.
        max_bytes: A budget for the home. Beyond it, those of the runs that ended first go first,
            even before `after_days`. Counted is what all files in the home take on the disk;
            freed are spools of runs that ended and that every backend has, and where the action
            is `remove`, compressed ones too: never run logs, `runs/`, or what is not ours.
            Compressed ones, which `remove` finds where it was not asked for before, go after all
            others, those of the runs that began first before those that began later.
    """

    action: Action = "keep"
    after_days: float = 30.0
    max_bytes: int | None = None

    @property
    def after_seconds(self) -> float:
        """The same as `after_days`."""
        return self.after_days * _DAY_SECONDS

    def ended_before(self, now: float) -> int | None:
        """Return until when a run must have ended to be due, in microseconds since the epoch.

        Args:
            now: The time of day in seconds since the epoch; NaN when that is not to be trusted,
                and then nothing is due: None.
        """
        if now != now:
            return None
        return int(max((now - self.after_seconds) * _MICROSECONDS, _BEFORE_ALL_TIMES))

    def looked_at_until(self, now: float, excess_bytes: int) -> int | None:
        """Return the same of those that are looked at: all, where the home is too large."""
        return _END_OF_TIMES if excess_bytes else self.ended_before(now)


class Spooled(msgspec.Struct, frozen=True):
    """The spool of a run that ended, as it lies there.

    Attributes:
        end_ts: When the run ended, as its writers' clocks tell, in microseconds since the epoch.
        modified_ts: When the spool was written to last, as ours does.
        taken_bytes: What it takes on the disk.
    """

    run_id: str
    end_ts: int
    modified_ts: int
    taken_bytes: int


def chosen(
    policy: Policy, spools: Iterable[Spooled], now: float, excess_bytes: int
) -> list[Spooled]:
    """Return the spools that are to go: those that are due, and as many as free what is too much.

    Args:
        policy: What is asked for.
        spools: Those that may go, the one whose run ended first comes first.
        now: The time of day in seconds since the epoch; NaN when that is not to be trusted.
        excess_bytes: By how much the home is too large; 0 or less when it is not.
    """
    found: list[Spooled] = []
    if policy.action == "keep":
        return found
    until_ts = policy.ended_before(now)
    for spool in spools:
        # Who sent the lines may have said any time: the spool itself must be as old.
        is_due = until_ts is not None and max(spool.end_ts, spool.modified_ts) <= until_ts
        if is_due or excess_bytes > 0:
            found.append(spool)
            excess_bytes -= spool.taken_bytes
    return found


def excess(policy: Policy, taken_bytes: int, on_its_way_bytes: int) -> int:
    """Return by how much a home is too large, but for what is about to be freed.

    Args:
        policy: What is asked for.
        taken_bytes: What the home takes.
        on_its_way_bytes: What archived spools take that wait to be compressed or removed.
    """
    if policy.max_bytes is None:
        return 0
    return max(taken_bytes - on_its_way_bytes - policy.max_bytes, 0)
