"""A real daemon whose standard error is the journal's: a run is found there by its id."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from steplogd.logs.log_limit import MOST_OF_THE_SAME
from tests.conftest import DEADLINE_SECONDS
from tests.daemon import configure
from tests.journals import journal
from tests.lines import Scribe, append

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.journals import Entry, FakeJournal

_DAEMON = """
import functools, os, sys
from steplogd.commands import run
from steplogd.logs.log import set_up_log
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
run.set_up_log = functools.partial(set_up_log, journal_socket=sys.argv.pop(1))
from steplogd.__main__ import main
main(["run", *sys.argv[1:]])
"""
_REFUSING = """
import sys
from steplogd.delivery.contract import Refused
from steplogd.delivery.memory import MemoryBackend, MemorySession
def refuse(session, batch):
    raise Refused("no\\nRUN_ID=forged")
MemorySession.send = refuse
"""


@contextlib.contextmanager
def logging_to(there: FakeJournal, home: Path) -> Iterator[Path]:
    """Serve a home by a daemon that logs there, and refuses all; yield its standard error."""
    stderr = home.parent / "stderr"
    arguments = ["--config", configure(home, '[[backend]]\ntype = "memory"\n')]
    with stderr.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _REFUSING + _DAEMON, there.path, *arguments],
            env={**os.environ, "STEPLOG_HOME": str(home)},
            stderr=stream,
        )
    try:
        yield stderr
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def until(there: FakeJournal, event: bytes, times: int = 1) -> list[Entry]:
    """Return the entries up to one of that kind, or the last of several."""
    entries: list[Entry] = []
    while sum(entry["EVENT"] == [event] for entry in entries) < times:
        entries.append(there.next())
    return entries


def test_a_run_is_found_by_its_id(home: Path) -> None:
    """That it began and ended, what was refused of it, and nothing that it forged."""
    a, b = Scribe("a"), Scribe("b")
    append(home, "r", a.line("join"), *[a.track() for _ in range(50)], a.line("leave"))
    append(home, "s", b.line("join"), b.line("leave", status="FAIL", message="two\nlines"))
    with journal(home.parent / "journal") as there:
        with logging_to(there, home) as stderr:
            entries = until(there, b"run-ended", times=2)
            letters_left = MOST_OF_THE_SAME - sum(_is_letter(entry) for entry in entries)
            entries += until(there, b"dead-letter", times=letters_left)
        entries += until(there, b"stopped")

    of_r = [entry for entry in entries if entry.get("RUN_ID") == [b"r"]]
    events = [entry["EVENT"][0] for entry in of_r]
    (ended,) = [entry for entry in of_r if entry["EVENT"] == [b"run-ended"]]
    letters = [entry for entry in of_r if _is_letter(entry)]
    assert events.count(b"run-begun") == 1
    assert ended["STEPLOG_STATUS"] == [b"SUCCESS"]
    assert ended["STEPLOG_OBSERVATIONS"] == [b"50"]
    assert {entry["BACKEND"][0] for entry in letters} == {b"memory"}
    assert {entry["STEPLOG_REASON"][0] for entry in letters} == {b"no\nRUN_ID=forged"}
    assert not [entry for entry in entries if entry.get("RUN_ID") == [b"forged"]]
    assert len(letters) == MOST_OF_THE_SAME
    assert stderr.read_bytes() == b""


def _is_letter(entry: Entry) -> bool:
    return entry["EVENT"] == [b"dead-letter"]
