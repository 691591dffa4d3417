r"""Runs `steplogd` with short rests, and if asked to, kills it at the n-th call of a function.

python -m tests.integration.impatient run --config FILE
KILL_AT="steplogd.retention.archive:Archive.take_out after 1" \
    python -m tests.integration.impatient run
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from steplogd.__main__ import main
from steplogd.retention import archivist, budget, stage, turned_down
from tests.integration.killer import kill_at

SHORT_SECONDS = 0.05


def _count(path: str) -> None:
    """Add a byte to a file in each round."""
    look = stage.Retention._due

    def look_and_count(self: stage.Retention, *arguments: Any) -> Any:
        found = look(self, *arguments)
        with Path(path).open("ab") as file:
            file.write(b".")
        return found

    stage.Retention._due = look_and_count  # type: ignore[assignment, method-assign]


def run() -> None:
    """Run it with the arguments of the process."""
    rest_seconds = float(os.environ.get("REST_SECONDS", SHORT_SECONDS))
    archivist.REST_SECONDS = archivist.LONG_REST_SECONDS = rest_seconds  # type: ignore[misc]
    stage.TURN_SECONDS = budget.MEASURE_SECONDS = SHORT_SECONDS  # type: ignore[misc]
    turned_down.TurnedDown.add.__defaults__ = (SHORT_SECONDS,)
    if "COUNT_ROUNDS" in os.environ:
        _count(os.environ["COUNT_ROUNDS"])
    if "KILL_AT" in os.environ:
        place, moment, number = os.environ["KILL_AT"].split()
        kill_at(place, moment, int(number))
    main(sys.argv[1:])


if __name__ == "__main__":
    run()
