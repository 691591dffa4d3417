"""A writer program on a disk that fills up: a call that is refused is made again until it returns.

    python -m tests.torture.refused ORACLE RUN KEY KIND PACE

As `tests.torture.writing`, but it outlives a `TrackingError`, which it counts. So each call returns
once, and nothing but what returned may be there. Where it is not strict, each call returns at once,
and what is not there must be in the count of the lost. With `TORTURE_NO_DESCRIPTORS` set it begins
without any, until somebody gives it some.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import steplog
from tests.torture.oracle import Oracle, value_of


def main(oracle_path: str, run_id: str, key: str, kind: str, *, pace: float) -> None:
    """Track until told to stop."""
    oracle = Oracle(Path(oracle_path))
    if "TORTURE_NO_DESCRIPTORS" in os.environ:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
    steplog.configure(strict=False)
    with steplog.start_run(run_id, tag="torture"):
        steplog.configure(strict=None)
        while not oracle.is_over:
            number = oracle.returned
            oracle.issued = number + 1
            try:
                steplog.track({key: value_of(kind, number)}, step=number)
            except steplog.TrackingError:
                oracle.refused += 1
            else:
                oracle.returned = number + 1
            time.sleep(1 / pace)
        steplog.configure(strict=False)


if __name__ == "__main__":
    os.chdir("/")
    del __file__  # else the commit that it runs would be told, or lost, besides the calls
    *_what, _pace = sys.argv[1:]
    main(*_what, pace=float(_pace))
