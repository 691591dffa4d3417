"""The writer program: a training that tracks at its pace, and tells the oracle of each call.

    python -m tests.torture.writing ORACLE RUN KEY KIND PACE

What is tracked under KEY at step n is `value_of(KIND, n)`; PACE is in events a second, 0 without
a pause. It ends, well, when the oracle asks for it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import steplog
from tests.torture.oracle import Oracle, value_of

BURSTS_PER_SECOND: Final = 50


def main(oracle_path: str, run_id: str, key: str, kind: str, *, pace: float) -> None:
    """Track until told to stop."""
    oracle = Oracle(Path(oracle_path))
    burst = max(int(pace / BURSTS_PER_SECOND), 1)
    with steplog.start_run(run_id, tag="torture"), steplog.task("train"):
        while not oracle.is_over:
            for number in range(oracle.returned, oracle.returned + burst):
                value = value_of(kind, number)
                oracle.issued = number + 1
                steplog.track({key: value}, step=number)
                oracle.returned = number + 1
            if pace:
                time.sleep(burst / pace)


if __name__ == "__main__":
    *_what, _pace = sys.argv[1:]
    main(*_what, pace=float(_pace))
