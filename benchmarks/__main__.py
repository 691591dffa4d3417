"""All benchmarks as a program: `make bench`, or `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.frame import plots
from benchmarks.frame.answer import read_all
from benchmarks.frame.page import page
from benchmarks.peers.contenders import REQUIREMENTS, prepare

HERE: Final = Path(__file__).parent
TRIED: Final = HERE.parent / "build" / "benchmarks"
# In this order; each is a file beside this one.
QUESTIONS: Final = [
    name
    for name in ("emit", "contention", "training", "fold", "deliver", "latency", "rest", "growth")
    if (HERE / f"{name}.py").exists()
]
# Those need environments of peers.
BESIDE_PEERS: Final = {"emit", "training", "deliver"}
# A question that takes longer hangs; all together are meant to take 40 minutes.
PATIENCE_SECONDS: Final = 1_200


def main() -> int:
    """Ask the questions that were named, or all; 0 if every one was answered."""
    arguments = _parser().parse_args()
    folder = TRIED if arguments.quick else HERE
    questions = arguments.questions or QUESTIONS
    if BESIDE_PEERS & set(questions):
        prepare(REQUIREMENTS)  # minutes when it is the first time: not a question's time
    failed = [name for name in questions if not _ask(name, arguments.quick)]
    render(folder)
    print(f"{folder / 'RESULTS.md'} says what was measured")
    if failed:
        print(f"not answered: {', '.join(failed)}; what stands there is of an earlier time")
    return 1 if failed else 0


def render(folder: Path) -> None:
    """Make the page and the plots from the results of a folder alone."""
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    for old in results.glob("*.svg"):
        old.unlink()
    answers = read_all(results)
    for answer in answers:
        for plot in answer.plots:
            path = results / f"{answer.name}-{plot.name}.svg"
            path.write_text(plots.draw(plot), "utf-8")
    (folder / "RESULTS.md").write_text(page(answers), "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure steplog beside what a user would pick instead.",
        epilog="example: python -m benchmarks --quick emit fold",
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help=f"tiny sizes, results in {TRIED}")
    return parser


def _ask(name: str, is_quick: bool) -> bool:
    """Let a question answer itself in a process of its own, and end all that it left."""
    if name not in QUESTIONS:
        sys.exit(f"there is no question {name}; there are: {', '.join(QUESTIONS)}")
    folder = (TRIED if is_quick else HERE) / "results"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--results", str(folder)]
    print(f"{name}: {time.strftime('%H:%M:%S')}", file=sys.stderr, flush=True)
    process = subprocess.Popen(
        [*command, *(["--quick"] if is_quick else [])], start_new_session=True, cwd=HERE.parent
    )
    try:
        return process.wait(PATIENCE_SECONDS) == 0
    except subprocess.TimeoutExpired:
        print(f"{name}: no answer after {PATIENCE_SECONDS} s", file=sys.stderr)
        return False
    finally:
        _end_group(process.pid)
        process.wait()


def _end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
