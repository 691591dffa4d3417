"""The wheel, installed without extras, is a whole SDK."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.once import once

_ROOT = Path(__file__).parents[2]
_TRACK = """
import sys
import steplog
with steplog.start_run("from-the-wheel"):
    steplog.track_this(step=3, loss=0.25)
outside = {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(sorted(name for name in outside if not name.startswith("_")))
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, install it without extras in an environment of its own; its bin folder."""
    return once(tmp_path_factory, "wheel", _install) / "venv" / "bin"


def _install(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, _ROOT], check=True)
    venv.create(folder / "venv", with_pip=True)
    (wheel,) = folder.glob("steplog-*.whl")
    subprocess.run([folder / "venv" / "bin" / "pip", "install", "--quiet", wheel], check=True)


def test_plain_installation_imports_and_tracks(plain: Path, tmp_path: Path) -> None:
    """With msgspec alone beside it, the SDK tracks, and loads nothing else."""
    environment = {"STEPLOG_HOME": str(tmp_path)}

    done = subprocess.run(
        [plain / "python", "-c", _TRACK],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )

    assert '"values":{"loss":0.25}' in (tmp_path / "spool/from-the-wheel.jsonl").read_text()
    assert done.stdout.strip() == "['msgspec', 'steplog']"


def test_plain_installation_has_the_commands(plain: Path, tmp_path: Path) -> None:
    """`steplog` works without extras; `steplogd` says which ones it needs, in one sentence."""
    environment = {"STEPLOG_HOME": str(tmp_path)}

    subprocess.run(
        [plain / "steplog", "track", "loss=0.5", "--run-id", "r"], env=environment, check=True
    )
    daemon = subprocess.run(
        [plain / "steplogd", "status"], env=environment, capture_output=True, text=True, check=False
    )

    assert '"values":{"loss":0.5}' in (tmp_path / "spool/r.jsonl").read_text()
    assert daemon.returncode == 1
    assert daemon.stderr.count("\n") == 1
    assert "pip install 'steplog[daemon]'" in daemon.stderr


def test_plain_installation_runs_commands(plain: Path, tmp_path: Path) -> None:
    """The preludes of the shells are in the wheel, and the stand-ins can be executed."""
    environment = {"STEPLOG_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    nested = "sh -c 'export STEPLOG_TRACK_a=1'; bash -c 'export STEPLOG_TRACK_b=2'"

    words = ["exec", "--run-id", "r", "--", "sh", "-c", nested]
    subprocess.run([plain / "steplog", *words], env=environment, check=True)

    spool = (tmp_path / "spool/r.jsonl").read_text()
    assert '"values":{"a":1' in spool
    assert '"b":2}' in spool


def test_the_wheel_brings_the_units(plain: Path) -> None:
    """`steplogd install` needs all of them, and nothing of the repository."""
    (wheel,) = plain.parents[1].glob("steplog-*.whl")
    folder = _ROOT / "systemd"
    ours = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    units = {name.removeprefix("steplogd/units/") for name in names if "/units/" in name}
    assert units == ours
    assert "system/steplogd@.service" in units
