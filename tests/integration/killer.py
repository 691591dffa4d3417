"""Runs `steplogd`, and kills it before or after the n-th call of one of its functions.

    python killer.py steplogd.folding.line:Line._fold before 2 drain --json

The kill is SIGKILL: nothing is flushed, closed or unlocked. Spools are read in small chunks, so
that there is more than one.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import signal
import sys
from typing import Any

from steplogd.__main__ import main
from steplogd.folding import line
from steplogd.intake import tail

SMALL_CHUNK_BYTES = 4096


def kill_at(place: str, moment: str, number: int) -> None:
    """Wrap the function of that name."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for attribute in owners:
        owner = getattr(owner, attribute)
    function, calls = getattr(owner, name), itertools.count(1)

    @functools.wraps(function)
    def deadly(*arguments: Any, **options: Any) -> Any:
        is_due = next(calls) == number
        if is_due and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if is_due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


if __name__ == "__main__":
    tail.CHUNK_BYTES = SMALL_CHUNK_BYTES  # type: ignore[misc]
    line.PASS_BYTES = 2 * SMALL_CHUNK_BYTES  # type: ignore[misc]
    kill_at(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    main(sys.argv[4:])
