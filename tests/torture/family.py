"""A family of processes: each tracks, starts others in some way, and ends in some way, as planned.

    python -m tests.torture.family PLAN FOLDER

PLAN is JSON: a member, with its children in it; or a map of runs to such, which then begin at once,
and go on when a line comes on standard input. Each member tracks under a key of its own, and tells
an oracle of its own of each call; a member whose end is to be killed tracks until it is.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import steplog
from tests.torture.oracle import Oracle, value_of

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS: Final = 30
KIND: Final = "mixed"
MOST_SECONDS_TO_LIVE: Final = 0.1
Member = dict[str, Any]


class Planned(Exception):  # it is what the plan says
    """The member ends by an exception."""


def live(member: Member, folder: str) -> None:
    """Live as planned; returns only where that is the end."""
    oracle = Oracle(Path(folder, f"{member['key']}.oracle"))
    _track(member, oracle, CALLS)
    waits = [_START[child["way"]](child, folder) for child in member["children"]]
    _track(member, oracle, CALLS)
    for wait in waits:
        wait()
    _track(member, oracle, CALLS)
    _END[member["end"]](member, oracle)


def _track(member: Member, oracle: Oracle, calls: int) -> None:
    for number in range(oracle.returned, oracle.returned + calls):
        oracle.issued = number + 1
        steplog.track({member["key"]: value_of(KIND, number)}, step=number)
        oracle.returned = number + 1


# --- how one is started -----------------------------------------------------------------------


def _fork(member: Member, folder: str) -> Callable[[], object]:
    pid = os.fork()
    if not pid:
        live(member, folder)
        sys.exit()
    return lambda: os.waitpid(pid, 0)


def _fork_in_thread(member: Member, folder: str) -> Callable[[], object]:
    """Fork in a thread, while this one tracks; such a child ends without a word."""

    def fork() -> None:
        pid = os.fork()
        if not pid:
            live(member, folder)
            os._exit(1)
        os.waitpid(pid, 0)

    thread = threading.Thread(target=fork)
    thread.start()
    return thread.join


def _start_program(member: Member, folder: str) -> Callable[[], object]:
    command = [sys.executable, "-m", "tests.torture.family", json.dumps(member), folder]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL).wait


def _start_worker(method: str) -> Callable[[Member, str], Callable[[], object]]:
    def start(member: Member, folder: str) -> Callable[[], object]:
        context: Any = multiprocessing.get_context(method)
        process = context.Process(target=live, args=(member, folder))
        process.start()
        wait: Callable[[], object] = process.join
        return wait

    return start


_START: Final[dict[str, Callable[[Member, str], Callable[[], object]]]] = {
    "fork": _fork,
    "thread": _fork_in_thread,
    "program": _start_program,
    "pool fork": _start_worker("fork"),
    "pool spawn": _start_worker("spawn"),
}


# --- how one ends -----------------------------------------------------------------------------


def _return(member: Member, oracle: Oracle) -> None:
    pass


def _raise(member: Member, oracle: Oracle) -> NoReturn:
    raise Planned


def _exit_at_once(member: Member, oracle: Oracle) -> NoReturn:
    os._exit(0)


def _be_killed(number: int) -> Callable[[Member, Oracle], None]:
    """End by a signal that comes at some moment from now, in the middle of a call most likely."""

    def track_until(member: Member, oracle: Oracle) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        seconds = random.Random(member["key"]).uniform(1e-4, MOST_SECONDS_TO_LIVE)
        if number == signal.SIGALRM:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        else:
            killer = threading.Timer(seconds, os.kill, (os.getpid(), number))
            killer.start()
        while True:
            _track(member, oracle, CALLS)

    return track_until


_END: Final[dict[str, Callable[[Member, Oracle], None]]] = {
    "returns": _return,
    "raises": _raise,
    "exits at once": _exit_at_once,
    "is killed": _be_killed(signal.SIGKILL),
    "times out": _be_killed(signal.SIGALRM),
}


def live_side_by_side(plans: dict[str, Member], folder: str) -> None:
    """Fork a member for each run, let all go on once all have begun, and wait for their ends."""
    gate, key = os.pipe()
    for run_id, member in plans.items():
        if not os.fork():
            os.close(key)
            with steplog.start_run(run_id):
                _track(member, Oracle(Path(folder, f"{member['key']}.oracle")), CALLS)
                os.read(gate, 1)
                live(member, folder)
            sys.exit()
    sys.stdin.readline()
    os.close(key)
    for _ in plans:
        os.wait()


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    _plan: dict[str, Any] = json.loads(sys.argv[1])
    if "key" in _plan:
        steplog.start_run()
        live(_plan, sys.argv[2])
    else:
        live_side_by_side(_plan, sys.argv[2])
