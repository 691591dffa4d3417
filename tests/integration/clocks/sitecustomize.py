"""Gives each Python that finds this on its path a time of day that a file says how to shift.

The file that `TEST_CLOCK` names holds the seconds to add to the real time; it is looked into at
each call, so that a clock can be set while a process runs. The steady clock stays as it is.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_file = Path(os.environ["TEST_CLOCK"])
_time, _time_ns = time.time, time.time_ns


def _shift_seconds() -> int:
    return int(_file.read_text() or 0)


time.time = lambda: _time() + _shift_seconds()
time.time_ns = lambda: _time_ns() + _shift_seconds() * 10**9
