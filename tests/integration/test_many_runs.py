"""Two thousand runs at once, their writers alive: few descriptors, and each of them ends."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import start_program, wait_until
from tests.daemon import configure, rows, serving

RUNS = 2000
DESCRIPTORS = 100

WRITERS = """
    import resource, sys, steplog
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    runs = [steplog.start_run(f"run-{k}") for k in range(int(sys.argv[1]), int(sys.argv[2]))]
    for step in range(3):
        for run in runs: run.track_this(step=step, loss=step / 7)
    print("all", flush=True)
    sys.stdin.readline()
    for number, run in enumerate(runs):
        run.track_this(step=3, loss=0.5)
        if number % 2: run.end()
        elif number % 4: run.end("FAIL", "as told")
    import os; os._exit(0)  # a quarter of them is never left
"""


def test_two_thousand_runs_at_once_all_end(home: Path) -> None:
    """The daemon holds none of their spools open, and each run ends with the status it should."""
    quarter = RUNS // 4
    with serving(home, "--config", configure(home)) as daemon:
        writers = [
            start_program(WRITERS, str(first), str(first + quarter))
            for first in range(0, RUNS, quarter)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        wait_until(lambda: rows(home, "SELECT count(*) FROM observation") == [(3 * RUNS,)])
        descriptors = len([*Path(f"/proc/{daemon.pid}/fd").iterdir()])
        open_runs = rows(home, "SELECT count(*) FROM run WHERE status = 'PROCESSING'")
        for writer in writers:
            writer.communicate("go\n")
        wait_until(lambda: not rows(home, "SELECT 1 FROM run WHERE status = 'PROCESSING' LIMIT 1"))

    assert descriptors < DESCRIPTORS
    assert open_runs == [(RUNS,)]
    assert rows(home, "SELECT status, killed, count(*) FROM run GROUP BY 1, 2 ORDER BY 1, 2") == [
        ("FAIL", 0, RUNS // 4),
        ("FAIL", 1, RUNS // 4),
        ("SUCCESS", 0, RUNS // 2),
    ]
    assert rows(home, "SELECT DISTINCT position, gaps, lost FROM run") == [(4, 0, 0)]
