"""Whether a point of a long run costs more than one of a short run, in time or in memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from steplog.decoding import decode
from steplogd.core.fold import Fold
from steplogd.store.database import Database
from steplogd.store.run_logs import RunLogs

CHUNK = 1_000
POINTS = 1_000_000
LINE = '{"t":"track","w":"9f3ac1","n":%d,"ts":%d,"task":"train","step":%d,"values":{"loss":%r}}\n'


def main() -> None:
    """Print the cost of folding at several lengths, and the daemon's memory for two runs."""
    with tempfile.TemporaryDirectory() as folder:
        time_fold(Path(folder))
    small, large = daemon_memory(1_000), daemon_memory(POINTS)
    print(f"daemon, highest resident size: {small / 1024:.1f} MB for a run of 1,000 points")
    print(f"daemon, highest resident size: {large / 1024:.1f} MB for a run of {POINTS:,} points")
    print(f"difference: {(large - small) / 1024:.1f} MB")


def lines(first: int, count: int) -> bytes:
    """Return the lines of some points of a run."""
    numbers = range(first, first + count)
    return "".join(LINE % (n, 1_795_449_203_490_342 + n, n, 1 / (n + 1)) for n in numbers).encode()


def time_fold(folder: Path) -> None:
    """Fold and commit a run chunk by chunk; print the cost of a point early and late."""
    run_logs = RunLogs(Database(folder / "steplog.db"))
    run = run_logs.load("run")
    fold = Fold(run.state)
    taken: list[float] = []
    for first in range(0, POINTS, CHUNK):
        chunk = lines(first, CHUNK)
        start = time.perf_counter()
        fold.apply(decode(chunk), 1)
        run.offset += len(chunk)
        run_logs.commit([(run, fold.take_changes())])
        taken.append((time.perf_counter() - start) / CHUNK)
    windows = {"points 1,000 to 51,000": taken[1:51], "the last 50,000": taken[-50:]}
    for name, window in windows.items():
        print(f"fold and commit, {name}: {sorted(window)[25] * 1e6:.2f} µs a point (median)")


def daemon_memory(points: int) -> int:
    """Serve a run of so many points until its document is written; return kB at the highest."""
    with tempfile.TemporaryDirectory() as home:
        spool = Path(home, "spool", "run.jsonl")
        spool.parent.mkdir()
        with spool.open("wb") as file:
            file.write(b'{"t":"open","w":"9f3ac2","n":0,"ts":1}\n{"t":"join","w":"9f3ac2","n":1}\n')
            for first in range(0, points, CHUNK):
                file.write(lines(first, CHUNK))
        environment = {**os.environ, "STEPLOG_HOME": home}
        command = [sys.executable, "-m", "steplogd", "run"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as daemon:
            while not Path(home, "runs", "run.json").exists():
                time.sleep(0.1)
            status = Path(f"/proc/{daemon.pid}/status").read_text("ascii")
            daemon.send_signal(signal.SIGTERM)
        (highest,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
        return int(highest)


if __name__ == "__main__":
    main()
