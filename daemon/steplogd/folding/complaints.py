"""What is said of spools that are not as they should be: each once, and never a flood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steplog.events import Malformed

AT_ONCE: Final = 20
"""As many are said between two sweeps; of the rest, how many there were."""

_log = structlog.get_logger()


class Complaints:
    """Says what is wrong with spools; to be used by one thread at a time."""

    def __init__(self) -> None:
        self._room = AT_ONCE
        self._left_out = 0
        self._complained_of: set[str] = set()

    def say_set_aside(self, run_id: str, set_aside: Sequence[Malformed]) -> None:
        """Say once of each run that something was set aside, and when its spool is another."""
        for malformed in set_aside[:1]:
            if malformed.line and run_id in self._complained_of:
                return
            self._complained_of.add(run_id)
            self.say(
                "line set aside" if malformed.line else "spool is read anew",
                run_id,
                offset=malformed.offset,
                reason=malformed.reason[:200],
                look=f"steplog show {run_id} --set-aside",
            )

    def say(self, what: str, run_id: str, **about: Any) -> None:
        """Log it, or count it where too much was said since the last sweep."""
        if self._room:
            self._room -= 1
            _log.warning(what, run=run_id, **about)
        else:
            self._left_out += 1

    def begin_anew(self) -> None:
        """Have room again, and say how many were left out."""
        self._room = AT_ONCE
        if self._left_out:
            _log.warning("more spools are not as they should be", count=self._left_out)
            self._left_out = 0
