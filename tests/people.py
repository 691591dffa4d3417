"""Users of one machine for tests that root runs: a daemon's, two that track, and their programs."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.conftest import DEADLINE_SECONDS
from tests.daemon import QUICK

if TYPE_CHECKING:
    from collections.abc import Iterator


class Person(NamedTuple):
    """A user, who need not be in any list of them; his group has the same number."""

    uid: int

    def environment(self, home: Path) -> dict[str, str]:
        """Return what his processes find: the home that all share, and no folder of his own."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "STEPLOG_HOME": str(home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }

    def runs(self, home: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a Python program of his to its end."""
        return self.calls(home, "-c", textwrap.dedent(code), *arguments)

    def calls(self, home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Python as him, with these arguments and more in its environment."""
        return subprocess.run(
            [interpreter(), "-P", *arguments],
            env=self.environment(home) | more,
            user=self.uid,
            group=self.uid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def starts(
        self, home: Path, *arguments: str, stderr: int | None = None
    ) -> subprocess.Popen[str]:
        """Start Python as him, with pipes for what it reads and prints."""
        return subprocess.Popen(
            [interpreter(), "-P", *arguments],
            env=self.environment(home),
            user=self.uid,
            group=self.uid,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def steplog(self, home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `steplog` as him."""
        program = "import sys; from steplog.cli import main; sys.exit(main())"
        return self.calls(home, "-c", program, *arguments, **more)


DAEMON: Final = Person(61_001)
ALICE: Final = Person(61_002)
MALLORY: Final = Person(61_003)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that all can go through, as pytest keeps its own for root alone; or skip."""
    if os.geteuid() != 0:
        pytest.skip("only root can start processes of several users")
    interpreter()
    with tempfile.TemporaryDirectory(prefix="steplog-people-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@contextlib.contextmanager
def open_home() -> Iterator[Path]:
    """Give the daemon's user a home to share that is not there yet, and a configuration of it."""
    with open_folder() as folder:
        place = folder / "state"
        place.mkdir()
        os.chown(place, DAEMON.uid, DAEMON.uid)
        path = place / "home"
        config = folder / "steplogd.toml"
        config.write_text(f'home = "{path}"\nshared = true\n{QUICK}')
        config.chmod(0o644)
        yield path


def command_line(home: Path, *words: str) -> list[str]:
    """Return how Python is called for a command of steplogd with that configuration."""
    return ["-m", "steplogd", *words, "--config", str(home.parent.parent / "steplogd.toml")]


def mode(path: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(path.lstat().st_mode)


@functools.cache
def interpreter() -> str:
    """Return a Python that other users can start, and that finds steplog."""
    names = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/local/bin/{names}", f"/usr/bin/{names}"):
        if shutil.which(python) and _starts(python):
            return python
    pytest.skip("other users can start no Python that finds steplog: it lies in a closed folder")


def _starts(python: str) -> bool:
    found = os.pathsep.join(filter(None, sys.path))
    try:
        started = subprocess.run(
            [python, "-P", "-c", "import steplog, inotify_simple"],
            env={"PYTHONPATH": found},
            user=MALLORY.uid,
            group=MALLORY.uid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    except OSError:
        return False
    return started.returncode == 0
