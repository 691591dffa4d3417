"""What is tracked: one value, ten values, and the lines that steplog would write of them."""

from __future__ import annotations

import json
import time
from typing import Final, Protocol

# Of as many digits as a loss has; the same at each call, so that making it is not measured.
LOSS: Final = 0.3141592653589793
TEN: Final = {f"metric_{number}": (number + 1) / 7 for number in range(10)}


class Tracker(Protocol):
    """A peer that is ready to be told; nothing is timed but the calls of `one` and `ten`."""

    def one(self, step: int) -> object:
        """Track one value at a step."""

    def ten(self, step: int) -> object:
        """Track ten values at a step."""

    def finish(self) -> object:
        """End as its documentation says: what is still to be written is written."""


def line(count: int, step: int = 12_345) -> bytes:
    """Return what steplog writes for one value or ten, made without steplog."""
    event = {
        "t": "track",
        "w": "9f3ac1b20d47",
        "n": step,
        "ts": time.time_ns() // 1000,
        "step": step,
        "values": {"loss": LOSS} if count == 1 else TEN,
    }
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"
