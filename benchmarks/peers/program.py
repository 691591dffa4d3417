"""What runs in a peer's environment: it measures, and prints what it found as a line of JSON.

    python -m benchmarks.peers.program emit mlflow async FOLDER --values 10

Imports the standard library and the peer alone.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

from benchmarks.frame import processes
from benchmarks.peers import emitting, training
from benchmarks.peers.timing import time_calls


def main() -> None:
    """Do what is asked for."""
    asked = _parser().parse_args()
    answer = os.dup(1)
    os.dup2(2, 1)  # what a peer prints must not be taken for the answer
    os.chdir(asked.folder)
    found = _do(asked, answer)
    os.write(answer, json.dumps(found).encode() + b"\n")
    os._exit(0)  # all is finished and measured; what a peer does at exit is not waited for


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure a peer in its own environment.")
    parser.add_argument(
        "what", choices=["emit", "turns", "end", "kill", "kill all", "count", "train"]
    )
    parser.add_argument("peer")
    parser.add_argument("setting")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--values", type=int, default=1, help="to a call: 1 or 10")
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=1.0)
    return parser


def _do(asked: argparse.Namespace, answer: int) -> Any:
    peer = asked.peer, asked.setting, asked.folder
    match asked.what:
        case "emit":
            return emitting.emit(*peer, asked.values, asked.calls, asked.seconds)
        case "turns":
            return emitting.emit_in_turns(asked.folder, asked.values, asked.calls)
        case "train":
            return training.train(*peer, asked.seconds)
        case "count":
            return importlib.import_module(f"benchmarks.peers.{asked.peer}").count(
                asked.folder, asked.setting
            )
    return _end(asked, answer)


def _end(asked: argparse.Namespace, answer: int) -> Any:
    """Track; then finish, or tell how many calls returned and be killed right after the last."""
    tracker = emitting.begin(asked.peer, asked.setting, asked.folder)
    taken = time_calls(tracker.one, itertools.islice(itertools.count(), asked.calls), asked.seconds)
    if asked.what == "end":
        tracker.finish()
        return len(taken)
    if asked.what == "kill all":
        processes.kill_family(os.getpid())
    os.write(answer, b"%d\n" % len(taken))
    os.kill(os.getpid(), signal.SIGKILL)
    return None


if __name__ == "__main__":
    main()
