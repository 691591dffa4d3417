"""A PostgreSQL for a benchmark alone, with its defaults, in a folder that is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.frame.environments import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTING_SECONDS: Final = 60
_DEBIAN: Final = Path("/usr/lib/postgresql")
# It refuses to run as root.
_USERS: Final = ("postgres", "nobody")


class Cluster(NamedTuple):
    """A running server: its URI, and the process that all of its processes descend from."""

    uri: str
    process: int


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a server for as long as the block lasts.

    Raises:
        Unavailable: It is not installed, or does not start.
    """
    binaries = _binaries()
    with tempfile.TemporaryDirectory(prefix="steplog-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        whose = _unprivileged(folder)
        make = [binaries / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres"]
        _check(make, cwd=folder, **whose)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        where = ["-h", "127.0.0.1", "-p", port, "-k", str(folder)]
        process = subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", *where],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **whose,
        )
        try:
            _wait_until_ready([str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", port])
            yield Cluster(f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres", process.pid)
        finally:
            process.send_signal(signal.SIGINT)  # ends its sessions too
            process.wait(STARTING_SECONDS)


def _binaries() -> Path:
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    initdb = found[-1] if found else shutil.which("initdb")
    if initdb is None:
        raise Unavailable("PostgreSQL is not installed: apt-get install postgresql")
    return Path(initdb).parent


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Give a folder to somebody who may run it, and return who that is, for `subprocess`."""
    if os.geteuid() != 0:
        return {}
    for name in _USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            os.chown(folder, user.pw_uid, user.pw_gid)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise Unavailable("there is no user who may run PostgreSQL: root may not")


def _check(command: list[Any], **options: Any) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, **options
    )
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise Unavailable(f"PostgreSQL makes no database: {said[-1][:200]}")


def _wait_until_ready(command: list[str]) -> None:
    end = time.monotonic() + STARTING_SECONDS
    while subprocess.run(command, timeout=STARTING_SECONDS).returncode:
        if time.monotonic() > end:
            raise Unavailable(f"PostgreSQL did not start in {STARTING_SECONDS} s")
        time.sleep(0.1)
