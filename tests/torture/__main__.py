"""The torture house as a program: `make torture`, or `python -m tests.torture --help`."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from tests.torture.report import markdown, table
from tests.torture.torture import Outcome, all_tortures, carry_out

if TYPE_CHECKING:
    from tests.torture.torture import Torture


def main() -> int:
    """Carry out the tortures that were asked for; 0 when nothing was lost, doubled or wrong."""
    arguments = _parser().parse_args()
    chosen = _chosen(arguments.only)
    folder = Path(tempfile.mkdtemp(prefix="steplog-torture-"))
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes, in {folder}")
    outcomes = _carry_out_all(chosen, folder, arguments.seed, arguments.minutes * 60)
    print("\n".join(table(outcomes)))
    if arguments.markdown:
        Path(arguments.markdown).write_text("\n".join(markdown(outcomes)) + "\n", "utf-8")
    if arguments.json:
        Path(arguments.json).write_bytes(msgspec.json.format(msgspec.json.encode(outcomes)))
    if any(outcome.failure for outcome in outcomes):
        again = f"make torture MINUTES={arguments.minutes:g} SEED={arguments.seed}"
        print(f"\nTry it again with `{again}`; what is left of it lies in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture",
        description="Try to make steplog lose something: kills, full disks, broken stores, "
        "hostile spools, trackers that misbehave.",
        epilog="example: python -m tests.torture --minutes 10 --seed 7 --only kill",
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long, in all (10)")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of all that is random")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="of these names")
    parser.add_argument("--json", metavar="FILE", help="write the outcomes there")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there")
    return parser


def _chosen(words: list[str]) -> list[Torture]:
    tortures = all_tortures()
    chosen = [one for name, one in tortures.items() if all(word in name for word in words)]
    if not chosen:
        sys.exit(f"no torture is called so; there are: {', '.join(tortures)}")
    return chosen


def _carry_out_all(chosen: list[Torture], folder: Path, seed: str, seconds: float) -> list[Outcome]:
    console = Console(stderr=True)
    shares = sum(one.share for one in chosen)
    outcomes = []
    for number, one in enumerate(chosen):
        budget = seconds * one.share / shares
        with console.status(f"{number + 1} of {len(chosen)}: {one.name}, {budget:.0f} s"):
            outcome = carry_out(one, folder / f"{number}", seed, budget)
        state = "FAILED" if outcome.failure else "skipped" if outcome.skipped else "ok"
        console.print(f"{one.name}: {state}", highlight=False)
        outcomes.append(outcome)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
