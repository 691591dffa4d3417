"""How soon after a call the run log has it: one writer, ten events a second."""

from __future__ import annotations

import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import steplog

EVENTS = 100
PAUSE_SECONDS = 0.1
POLL_SECONDS = 0.001


def main() -> None:
    """Serve a home, track into it, look into the store every millisecond; print the latencies."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["STEPLOG_HOME"] = home
        command = [sys.executable, "-m", "steplogd", "run"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as daemon:
            latencies = sorted(measure(Path(home)))
            daemon.send_signal(signal.SIGTERM)
        print(
            f"emit to visible in the run log: median {statistics.median(latencies) * 1e3:.1f} ms, "
            f"p90 {latencies[int(len(latencies) * 0.9)] * 1e3:.1f} ms, "
            f"highest {latencies[-1] * 1e3:.1f} ms, of {EVENTS} events"
        )


def measure(home: Path) -> list[float]:
    """Return seconds from each call to its commit."""
    steplog.track_this(step=-1, loss=0.5)
    while observations(home) < 1:
        time.sleep(PAUSE_SECONDS)
    latencies = []
    for step in range(EVENTS):
        time.sleep(PAUSE_SECONDS)
        start = time.perf_counter()
        steplog.track_this(step=step, loss=0.5)
        while observations(home) < step + 2:
            time.sleep(POLL_SECONDS)
        latencies.append(time.perf_counter() - start)
    return latencies


def observations(home: Path) -> int:
    """Return how many observations are committed."""
    path = home / "steplog.db"
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (count,) = connection.execute("SELECT coalesce(sum(position), 0) FROM run").fetchone()
    except sqlite3.OperationalError:  # the schema is being made
        return 0
    finally:
        connection.close()
    return int(count)


if __name__ == "__main__":
    main()
