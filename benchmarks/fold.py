"""How fast 500 spools of 1,000 points become run logs, and reach the in-memory backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 500
POINTS = 1_000
LINE = '{"t":"track","w":"9f3ac1","n":%d,"ts":1795449203490342,"step":%d,"values":{"loss":%r}}\n'


def main() -> None:
    """Drain the spools without a backend, and with one, and print the rates."""
    for config in ("", '[[backend]]\ntype = "memory"\n'):
        with tempfile.TemporaryDirectory() as folder:
            seconds = drain(Path(folder), config)
            name = "run log and memory" if config else "run log"
            print(f"{name}: {RUNS * POINTS:,} points in {seconds:.2f} s, start-up included")


def drain(home: Path, config: str) -> float:
    """Return the seconds that `steplogd drain` takes for all spools."""
    home.joinpath("spool").mkdir()
    home.joinpath("steplogd.toml").write_text(config, "utf-8")
    text = "".join(LINE % (n, n, n / 7) for n in range(POINTS))
    for run in range(RUNS):
        home.joinpath("spool", f"run-{run}.jsonl").write_text(text, "utf-8")
    command = [sys.executable, "-m", "steplogd", "drain", "--json", "--config"]
    environment = {**os.environ, "STEPLOG_HOME": str(home)}
    start = time.perf_counter()
    done = subprocess.run(
        [*command, home / "steplogd.toml"], env=environment, check=True, stdout=subprocess.PIPE
    )
    if not json.loads(done.stdout)["done"]:
        raise SystemExit("something is left")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
