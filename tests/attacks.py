"""Programs of users who share a home, of whom one attacks the others: for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.people import MALLORY

if TYPE_CHECKING:
    from pathlib import Path

TRACK = """
    import sys, steplog
    with steplog.start_run(sys.argv[1], tag="shared") as run:
        steplog.track_this(step=1, loss=0.5)
        print(run.run_id)
"""

MADE_UP = "import steplog; steplog.track_this(x=1); print(steplog.get_run_id())"

HOLD = """
    import sys, steplog
    steplog.start_run(sys.argv[1])
    print("in", flush=True)
    sys.stdin.read()
"""

ATTACK = """
    import errno, fcntl, os, sys
    spool = sys.argv[1]
    folder, name = os.path.split(spool)
    mine = os.path.join(folder, "mallorys.jsonl")
    open(mine, "wb").write(b'{"t":"track","values":{"forged":1}}\\n')
    def lock():
        fcntl.flock(os.open(spool, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    home = os.path.dirname(folder)
    attacks = {
        "list": lambda: os.listdir(folder),
        "read": lambda: open(spool, "rb"),
        "append": lambda: open(spool, "ab"),
        "truncate": lambda: os.truncate(spool, 0),
        "link": lambda: os.link(spool, os.path.join(folder, "second.jsonl")),
        "chmod": lambda: os.chmod(spool, 0o666),
        "chown": lambda: os.chown(spool, os.getuid(), -1),
        "utime": lambda: os.utime(spool, (0, 0)),
        "lock": lock,
        "rename over": lambda: os.rename(mine, spool),
        "remove": lambda: os.unlink(spool),
        "rename away": lambda: os.rename(spool, mine + ".2"),
        "take the folder away": lambda: os.rename(folder, folder + ".old"),
        "list the home": lambda: os.listdir(home),
        "read the store": lambda: open(home + "/steplog.db", "rb"),
        "read the documents": lambda: os.listdir(home + "/runs"),
        "hold the home": lambda: open(home + "/steplogd.lock", "rb"),
        "list the catalog": lambda: os.listdir(home + "/catalog"),
        "make a file in the home": lambda: open(home + "/mlflow.db", "wb"),
    }
    for what, attack in attacks.items():
        try:
            attack()
        except (PermissionError, FileNotFoundError):
            continue
        print(what)
"""

ON_A_SPOOL = {
    *("read", "append", "truncate", "link", "chmod", "chown", "utime", "lock"),
    *("rename over", "remove"),
}

PLANTED = {
    "file": "open(path, 'wb').close(); os.chmod(path, 0o666)",
    "closed file": "open(path, 'wb').close(); os.chmod(path, 0)",
    "link": "os.symlink(sys.argv[2], path)",
    "dangling link": "os.symlink('/nonexistent/x', path)",
    "link to itself": "os.symlink(path, path)",
    "pipe": "os.mkfifo(path); os.chmod(path, 0o666)",
    "folder": "os.mkdir(path); os.chmod(path, 0o777)",
    "socket": "socket.socket(socket.AF_UNIX).bind(path)",
}


def plant(home: Path, what: str, path: Path, target: Path | None = None) -> None:
    code = f"import os, socket, sys; os.umask(0); path = sys.argv[1]; {PLANTED[what]}"
    planted = MALLORY.runs(home, code, str(path), str(target))
    assert planted.stderr == ""
