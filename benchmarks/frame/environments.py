"""An environment of its own for each peer, made when it is first asked for and kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PIP_SECONDS: Final = 900
STAMP: Final = "installed.json"


class Unavailable(Exception):
    """A peer cannot be measured here; the text says why."""


class Environment:
    """A Python with some packages.

    Attributes:
        python: Its interpreter.
        folder: Where it lies.
    """

    def __init__(self, folder: Path, requirements: tuple[str, ...]) -> None:
        self.folder = folder
        self._requirements = requirements
        self.python = folder / "bin" / "python"

    @property
    def packages(self) -> dict[str, str]:
        """What was installed for the requirements: name and version, `besides` left out."""
        found: dict[str, str] = json.loads((self.folder / STAMP).read_bytes())
        return found

    def main_versions(self) -> dict[str, str]:
        """Return the versions of what was asked for, without what that brings."""
        wanted = {one.lower() for one in self._requirements} | {"steplog", "msgspec"}
        return {name: version for name, version in self.packages.items() if name.lower() in wanted}

    def installed(self) -> dict[str, str]:
        """Return what is installed there now; pip and setuptools come with every environment."""
        code = (
            "import importlib.metadata as m, json;"
            "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
        )
        done = subprocess.run([self.python, "-c", code], check=True, stdout=subprocess.PIPE)
        found: dict[str, str] = json.loads(done.stdout)
        return {name: found[name] for name in sorted(found) if name not in {"pip", "setuptools"}}


def environment(name: str, *requirements: str, besides: tuple[str, ...] = ()) -> Environment:
    """Return the environment of this name, with these requirements and what they bring.

    Requirements that start with a dot are paths within this repository. It is made again when
    they change. What is wanted besides is installed after the packages have been counted.

    Raises:
        Unavailable: They could not be installed.
    """
    wanted = [_absolute(requirement) for requirement in requirements]
    key = hashlib.sha256("\n".join([sys.version, *wanted, *besides]).encode()).hexdigest()[:12]
    found = Environment(cache() / f"{name}-{key}", requirements)
    if (found.folder / STAMP).exists():
        return found
    failed = found.folder / "failed"
    if failed.exists():
        raise Unavailable(failed.read_text("utf-8"))
    print(f"  setting up {name}", file=sys.stderr, flush=True)
    venv.create(found.folder, with_pip=True, clear=True)
    _install(found, wanted, failed)
    packages = json.dumps(found.installed())
    if besides:
        _install(found, list(besides), failed)
    (found.folder / STAMP).write_text(packages, "utf-8")
    return found


def cache() -> Path:
    """Return the folder of all environments."""
    return Path(os.environ.get("BENCH_CACHE") or Path.home() / ".cache" / "steplog-bench")


def _absolute(requirement: str) -> str:
    return str(ROOT / requirement) if requirement.startswith(".") else requirement


def _install(found: Environment, wanted: list[str], failed: Path) -> None:
    """Install, or keep the reason why that failed: the next run need not try it again."""
    arguments = [
        word for one in wanted for word in (("-e", one) if one.startswith("/") else (one,))
    ]
    command = [str(found.python), "-m", "pip", "install", "--quiet", *arguments]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PIP_SECONDS
        )
        if done.returncode == 0:
            return
        errors = re.findall(r"ERROR: (.+)", done.stdout.decode("utf-8", "replace"))
        reason = (
            f"pip cannot install it on Python {sys.version.split()[0]}: {(errors or ['?'])[-1]}"
        )
        failed.write_text(reason[:300], "utf-8")
        raise Unavailable(reason[:300])
    raise Unavailable(f"pip did not install it within {PIP_SECONDS} s")
