"""A machine with a real systemd: a container over a throw-away copy of this machine's files.

Its mounts and processes have name spaces of their own, which end with the one process that is
started here, and that one with the tests: nothing is left of it, however they end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from steplogd.delivery.wandb_child import is_running
from tests.conftest import DEADLINE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Process = subprocess.Popen[str]

NEEDED: Final = ("systemd-nspawn", "unshare", "nsenter", "setpriv")
_IS_UP: Final = 'case "$(systemctl is-system-running)" in [rd]*) ;; *) false ;; esac'
"""Running, or degraded."""

_BOOT: Final = """
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
rm -rf "$1/root/etc/systemd/system/multi-user.target.wants"
echo "$2" >"$1/root/etc/machine-id"
shift 2
exec "$@"
"""
"""Makes the copy, where the services of this machine are not enabled, and boots it.

What systemd-nspawn notes in /run it notes there, too.
"""


class Box:
    """A machine that has been booted.

    Args:
        leader: The process id of its systemd, as it is known here.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def command(self, *words: str, user: str | None = None) -> list[str]:
        """Return a command that runs these words inside, as root or as another user."""
        enter = ["nsenter", "--target", str(self._leader), "--all"]
        become = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
        return [*enter, *become, *words]

    def runs(
        self, *words: str, user: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        return subprocess.run(
            self.command(*words, user=user),
            env=_environment(user, environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def does(self, *words: str, user: str | None = None, **environment: str) -> str:
        """Run a command inside that has to succeed; return what it prints."""
        done = self.runs(*words, user=user, **environment)
        assert done.returncode == 0, f"{words} said {done.stdout} {done.stderr}"
        return done.stdout

    def starts(self, *words: str, user: str | None = None, **environment: str) -> Process:
        """Start a command inside that ends by itself, with a pipe for what it prints."""
        return subprocess.Popen(
            self.command(*words, user=user),
            env=_environment(user, environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def signals(self, pid: str, name: str) -> None:
        """Send a signal to a process; not every machine has the program `kill`."""
        self.does("sh", "-c", 'kill -s "$1" "$2"', "sh", name, pid)

    def waits(self, condition: str, *arguments: str) -> None:
        """Wait until a condition of the shell holds; it is asked inside, which is much cheaper."""
        loop = f"until {condition}; do sleep 0.05; done"
        self.does("timeout", str(DEADLINE_SECONDS), "sh", "-c", loop, "sh", *arguments)

    def writes(self, path: str, text: str) -> None:
        """Write a file inside, and make its folder."""
        script = 'mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1"'
        self.does("sh", "-c", script, "sh", path, text)

    def shows(self, unit: str, name: str) -> str:
        """Return a property of a unit, as `systemctl show` prints it."""
        return self.does("systemctl", "show", "--value", "--property", name, unit).strip()


@contextlib.contextmanager
def booted(folder: Path, mounts: Mapping[Path, str]) -> Iterator[Box]:
    """Boot a machine for as long as the block lasts; where that is impossible, skip the test.

    Args:
        folder: An empty folder, in which nothing is left.
        mounts: What is to be seen inside, by where it lies here: the path inside.
    """
    skip_where_impossible()
    binds = [f"--bind-ro={source}:{target}" for source, target in mounts.items()]
    quiet = ["--quiet", "--register=no", "--keep-unit", "--private-network"]
    nspawn = ["systemd-nspawn", "-D", f"{folder}/root", "--boot", *quiet, *binds]
    kept = ["--mount-proc", "--propagation", "private", "--kill-child=KILL"]
    apart = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", *kept]
    log = folder.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*apart, "sh", "-ec", _BOOT, "sh", str(folder), uuid.uuid4().hex, *nspawn],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    leader: int | None = None
    try:
        wait_until(lambda: process.poll() is not None or _leader(process.pid) is not None)
        leader = _leader(process.pid)
        if leader is None:
            pytest.skip(f"no systemd can be booted here: {log.read_text(errors='replace')[-300:]}")
        box = Box(leader)
        box.waits(_IS_UP)
        yield box
    finally:
        process.kill()
        process.wait(DEADLINE_SECONDS)
        wait_until(lambda: leader is None or not is_running(leader))


def skip_where_impossible() -> None:
    """Skip the test where this user, or this machine, can boot no systemd."""
    if os.geteuid() != 0:
        pytest.skip("only root can boot a systemd in a container")
    for program in NEEDED:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}: apt-get install systemd-container dbus")


def _leader(pid: int) -> int | None:
    """Return the process that is the container's systemd, below the one that was started here."""
    with contextlib.suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return child
            if leader := _leader(child):
                return leader
    return None


def _environment(user: str | None, more: Mapping[str, str]) -> dict[str, str]:
    home = f"/home/{user}" if user else "/root"
    return {"PATH": "/usr/bin:/usr/sbin:/bin:/sbin", "HOME": home, "LANG": "C.UTF-8", **more}


def python_prefix() -> Path:
    """Return where the interpreter of the tests is installed, the standard library and all."""
    return Path(sys.base_prefix).resolve()
