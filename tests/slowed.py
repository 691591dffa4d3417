"""Programs that make a daemon slow, or hang, in one place each: for tests."""

from __future__ import annotations

SLOW_WATCH = """
import os, sys, time
import steplogd.intake.watch
from steplogd.__main__ import main

stand = steplogd.intake.watch._stand

def wait(*arguments):
    while not os.path.exists(os.environ["GO_ON"]):
        time.sleep(0.01)
    return stand(*arguments)

steplogd.intake.watch._stand = wait
main(["run", *sys.argv[1:]])
"""
"""A daemon whose watch stands once a file is there."""

SLOW_SWEEP = """
import os, sys
from steplogd.__main__ import main
from steplogd.folding.spools import Spools

grown = Spools.grown

def refuse(self):
    if not os.path.exists(os.environ["GO_ON"]):
        raise OSError(5, "not now")
    return grown(self)

Spools.grown = refuse
main(["run", *sys.argv[1:]])
"""
"""A daemon that can list no spools before a file is there."""

BLOCKED_LOOP = """
import anyio, os, sys, time
from steplogd.__main__ import main
from steplogd.folding.follow import Follower

async def block(self):
    while not os.path.exists(os.environ["BLOCK_NOW"]):
        await anyio.sleep(0.01)
    time.sleep(3600)

Follower.end_runs = block
main(["run", *sys.argv[1:]])
"""
"""A daemon whose event loop is blocked once a file is there."""

HUNG_LINE = """
import os, sys, time
from steplogd.__main__ import main
from steplogd.folding.line import Line

def hang(self, *_):
    if os.path.exists(os.environ["BLOCK_NOW"]):
        time.sleep(3600)
    return set()

Line.end_runs = hang
main(["run", *sys.argv[1:]])
"""
"""A daemon whose line hangs once a file is there, in a thread."""

SLOW_LOOK = """
import sys
import steplogd.supervised
from steplogd.__main__ import main

steplogd.supervised._STATUS_SECONDS = 0.01
steplogd.supervised._STATUS_REST = 1e9
steplogd.supervised._LONGEST_REST_SECONDS = 0.1
main(["run", *sys.argv[1:]])
"""
"""A daemon for which every look at itself took very long, as one does that waited for the store."""

SLOW_DISK = """
import ctypes, os, sys, time
from steplogd.__main__ import main
from steplogd.{module} import {where}

libc = ctypes.CDLL(None)
was = {where}.{method}

def wait(self, *arguments):
    # Who starts a program waits for that as for a disk, here until somebody writes a pipe.
    if os.path.exists(pipe := os.environ["BLOCK_NOW"]):
        actions, pid = ctypes.create_string_buffer(512), ctypes.c_int()
        libc.posix_spawn_file_actions_init(actions)
        libc.posix_spawn_file_actions_addopen(actions, 0, pipe.encode(), os.O_RDONLY, 0)
        words = (ctypes.c_char_p * 2)(b"true", None)
        {around}libc.posix_spawn(ctypes.byref(pid), b"/bin/true", actions, None, words, words)
    return was(self, *arguments)

{where}.{method} = wait
main(["run", *sys.argv[1:]])
"""

SWEEP_ON_DISK = SLOW_DISK.format(module="folding.spools", where="Spools", method="grown", around="")
"""A daemon whose line waits for the disk once a pipe is there, until somebody writes that."""

COMMIT_ON_DISK = SLOW_DISK.format(
    module="store.database",
    where="Database",
    method="check",
    around="with self.transaction(): ",
)
"""A daemon in which somebody else's transaction waits likewise."""

PATIENT_STORE = """
import sys
import steplogd.store.database
from steplogd.__main__ import main

steplogd.store.database._BUSY_SECONDS = 3600
main(["run", *sys.argv[1:]])
"""
"""A daemon that waits for an hour for another program's lock, before it says so and tries again."""

HUNG_STORE = """
import os, sys, threading, time
from steplogd.__main__ import main
from steplogd.store.database import Database

def hang(self):
    if os.path.exists(os.environ["BLOCK_NOW"]):
        with self.transaction():
            time.sleep(3600)

Database.check = hang
main(["run", *sys.argv[1:]])
"""
"""A daemon in which somebody else keeps a transaction open for ever."""
