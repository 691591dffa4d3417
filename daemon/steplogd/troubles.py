"""What is tried again all the time: told when it begins, and once when it is mended."""

from __future__ import annotations

from typing import Final

import structlog

_log = structlog.get_logger()

MENDED: Final = "what could not be done is done"


class Troubles:
    """Remembers each trouble with its reason; may be used by any thread."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def now(self) -> list[str]:
        """Return what cannot be done now, and why."""
        reasons = list(self._reasons.items())  # one thread reads while another changes it
        return [f"{trouble}: {reason}" for trouble, reason in reasons]

    def say(self, trouble: str, reason: str, *, is_error: bool = True) -> None:
        """Log a trouble when it begins and when its reason changes, not for each attempt."""
        if self._reasons.get(trouble) != reason:
            self._reasons[trouble] = reason
            log = _log.error if is_error else _log.warning
            log(f"{trouble}, trying again", reason=reason)

    def mended(self, trouble: str) -> None:
        """Log that it is no trouble any more, if it was one."""
        if self._reasons.pop(trouble, None) is not None:
            _log.info(MENDED, trouble=trouble)
