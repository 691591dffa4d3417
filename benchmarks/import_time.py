"""What `import steplog` costs over a bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 25


def main() -> None:
    """Alternate between a bare interpreter and imports, and print the medians."""
    programs = {"nothing": "pass", "msgspec": "import msgspec", "steplog": "import steplog"}
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            taken[name].append(time.perf_counter() - start)
    bare = statistics.median(taken.pop("nothing"))
    for name, seconds in taken.items():
        print(
            f"{name}: {(statistics.median(seconds) - bare) * 1e3:.1f} ms over {bare * 1e3:.1f} ms"
        )


if __name__ == "__main__":
    main()
