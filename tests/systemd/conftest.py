"""The machine that these tests share: steplog is installed from its wheel, as a user would."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.systemd.box import booted, python_prefix, skip_where_impossible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.systemd.box import Box

_ROOT: Final = Path(__file__).parents[2]
_HIDDEN: Final = ("/root", "/home", "/tmp")
USERS: Final = ("alice", "bob")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    skip_where_impossible()
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, _ROOT], check=True)
    (path,) = folder.glob("steplog-*.whl")
    return path


@pytest.fixture(scope="session")
def box(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Boot a machine with users, and with steplog in a virtual environment of its own.

    What steplog depends on is that of the tests: no network is needed, and there is none.
    """
    prefix = python_prefix()
    # Where the units hide it, or others cannot go, the interpreter is seen elsewhere.
    inside = "/opt/python" if str(prefix).startswith(_HIDDEN) else str(prefix)
    mounts = {
        wheel.parent: "/opt/wheel",
        Path(sysconfig.get_path("purelib")): "/opt/dependencies",
        **({prefix: inside} if inside not in ("/usr", "/usr/local") else {}),
    }
    with booted(tmp_path_factory.mktemp("box"), mounts) as box:
        box.writes("/etc/ld.so.conf.d/python.conf", f"{inside}/lib\n")
        box.does("ldconfig")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        box.does(f"{inside}/bin/{version}", "-m", "venv", "--without-pip", "/opt/steplog")
        site = f"/opt/steplog/lib/{version}/site-packages"
        box.writes(f"{site}/dependencies.pth", "/opt/dependencies\n")
        pip = ("/opt/steplog/bin/python", "-m", "pip", "--disable-pip-version-check")
        options = ("--quiet", "--no-index", "--no-deps", "--ignore-installed")
        box.does(*pip, "install", *options, "--root-user-action=ignore", f"/opt/wheel/{wheel.name}")
        for user in USERS:
            box.does("useradd", "--create-home", "--user-group", user)
        yield box
