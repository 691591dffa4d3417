"""What may pass by itself ends no daemon for good: it is told from what a person has to mend."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from steplogd import shared_home
from steplogd.config import ConfigError, NotNow, load_config
from steplogd.lasting import is_lasting
from tests.conftest import run_program
from tests.daemon import configure, steplogd
from tests.disks import CannotMount, mounted

BROKEN = """
import msgspec
class Broken:
    package, extra = {package!r}, ""
    class Options(msgspec.Struct): ...
    def __init__(self, options, home): raise {error}
"""


@pytest.mark.parametrize(
    ("package", "error", "status"),
    [
        ("", "ValueError('no such mode')", 78),
        ("", "SystemExit('no licence')", 78),
        ("", "PermissionError(13, 'not for you')", 78),
        ("", "MemoryError('too little')", 1),
        ("", "ImportError('half of it is there')", 1),
        ("", "RuntimeError('no more threads')", 1),
        ("", "OSError(5, 'the disk')", 1),
        ("no_such_tracker", "ValueError", 1),
    ],
)
def test_a_backend_that_is_not_to_be_had_ends_no_daemon_for_good(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    error: str,
    status: int,
) -> None:
    """Unless it does not like what it was given; in the middle of an upgrade nothing is there."""
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "broken-1.dist-info" / "METADATA").write_text("Name: broken\nVersion: 1\n")
    (tmp_path / "broken-1.dist-info" / "entry_points.txt").write_text(
        "[steplog.backends]\nbroken = broken:Broken\n"
    )
    (tmp_path / "broken.py").write_text(BROKEN.format(package=package, error=error))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    told = steplogd("run", "--config", configure(home, '[[backend]]\ntype = "broken"'))

    assert told.returncode == status
    assert "'broken'" in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr


def test_a_package_that_is_missing_is_a_mistake_for_who_checks(home: Path) -> None:
    """He is there to install it."""
    text = configure(home, '[[backend]]\ntype = "memory"')
    program = f"""
from steplogd.delivery.memory import MemoryBackend
from steplogd.__main__ import main
MemoryBackend.package = "no_such_tracker"
main(["check", "--config", {text!r}])
"""
    told = run_program(program)

    assert told.returncode == 78
    assert "pip install 'no_such_tracker'" in told.stderr


def test_a_file_that_a_disk_does_not_give_may_be_read_later() -> None:
    """As /proc/self/mem, which begins with an error of the device."""
    with pytest.raises(NotNow, match="/proc/self/mem: Input/output error"):
        load_config(Path("/proc/self/mem"))


def test_a_file_that_vanished_is_looked_for_again(tmp_path: Path) -> None:
    """It was there when it was looked for: somebody writes it anew."""
    with pytest.raises(NotNow):
        load_config(tmp_path / "c.toml")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP])
def test_what_only_a_person_can_mend_is_lasting(number: int) -> None:
    """Rights, and what stands in the way."""
    assert is_lasting(OSError(number, os.strerror(number)))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EROFS, errno.ENOENT])
def test_what_a_disk_may_get_over_is_not(number: int) -> None:
    """It is tried again."""
    assert not is_lasting(OSError(number, os.strerror(number)))


def test_a_home_on_a_disk_that_is_read_only_now_is_no_mistake(tmp_path: Path) -> None:
    """It may be mounted anew."""
    try:
        with mounted(tmp_path / "disk", "tmpfs") as disk:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

            with pytest.raises(OSError, match="Read-only"):
                shared_home.share(disk)
    except CannotMount as error:
        pytest.skip(str(error))


def test_a_file_of_the_home_may_vanish_while_it_is_closed_to_others(tmp_path: Path) -> None:
    """As the store's WAL does with the last one who reads it."""
    (tmp_path / "steplog.db-wal").touch(mode=0o644)
    (entry,) = os.scandir(tmp_path)
    Path(entry.path).unlink()

    shared_home._close(entry)


def test_a_home_that_is_in_the_way_is_a_mistake(tmp_path: Path) -> None:
    """A link instead of a folder, say."""
    (tmp_path / "spool").symlink_to("/nowhere")

    with pytest.raises(ConfigError, match="cannot be shared"):
        shared_home.share(tmp_path)
