"""What W&B's errors mean for the exporter; in doubt that it is to be called again."""

from __future__ import annotations

import re
from typing import Final

from steplogd.delivery.contract import BackendError, Refused, Unavailable
from steplogd.delivery.wandb_frames import Failed

MAX_REASON: Final = 500

_NO_KEY: Final = re.compile(
    r"api key|api_key|wandb login|not logged in|\b401\b|unauthori[sz]ed|unauthenticated",
    re.IGNORECASE,
)
_FORBIDDEN: Final = re.compile(r"permission denied|\b403\b|forbidden", re.IGNORECASE)

KEY_ADVICE: Final = (
    "W&B takes no runs without a key: set WANDB_API_KEY for the daemon, or run `wandb login` as "
    "the user whom the daemon runs as, or name a key_file"
)


class Lost(Unavailable):
    """Files of a run that is open were taken away: W&B must forget it, and be started anew."""


def meaning(error: BaseException) -> Failed:
    """Return what an error means, in one sentence that says what to do."""
    if isinstance(error, BackendError):
        is_refused, is_broken = isinstance(error, Refused), isinstance(error, Lost)
        return Failed(str(error), is_refused=is_refused, is_broken=is_broken)
    reason = _reason(error)
    if _NO_KEY.search(reason):
        return Failed(f"{KEY_ADVICE} ({reason})")
    if _FORBIDDEN.search(reason):
        return Failed(f"W&B does not let this key write there: check entity and project ({reason})")
    return Failed(f"W&B answered with an error: {reason}")


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:MAX_REASON]
