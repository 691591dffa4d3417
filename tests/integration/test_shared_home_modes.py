"""How a home has to be open to be shared, and how closed one is that is not."""

from __future__ import annotations

import subprocess
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.attacks import TRACK
from tests.people import ALICE, DAEMON, MALLORY, command_line, mode, open_folder, open_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home() -> Iterator[Path]:
    """Give the daemon's user a home that is not there yet."""
    with open_home() as path:
        yield path


@pytest.mark.parametrize(
    ("spoil", "advice"),
    [
        ("mkdir home; chown 61003 home", "run steplogd as that user"),
        ("mkdir -p home/spool; chown 61001 home; chown 61003 home/spool", "give both to the user"),
        ("mkdir home; ln -s /tmp home/spool; chown 61001 home", "is no folder"),
        ("chmod 700 .", "chmod o+x"),
        ("chmod 777 .", "chmod o-w"),
    ],
)
def test_home_that_cannot_be_shared_is_refused(home: Path, spoil: str, advice: str) -> None:
    """By `steplogd check` and at the start alike, in one sentence that says what to do."""
    subprocess.run(["sh", "-c", spoil], cwd=home.parent, check=True)
    before = sorted((path, mode(path)) for path in home.parent.rglob("*"))
    said = [DAEMON.calls(home, *command_line(home, command)) for command in ("check", "run")]

    assert [one.returncode for one in said] == [78, 78]
    assert all(advice in one.stderr and len(one.stderr.splitlines()) == 1 for one in said)
    after = sorted((p, mode(p)) for p in home.parent.rglob("*") if p.name != "steplogd.lock")
    assert [one for one in before if one not in after] == []


def test_good_shared_home_is_said_to_be_so(home: Path) -> None:
    """`steplogd check` names it, before it is made and after."""
    said = DAEMON.calls(home, *command_line(home, "check"))

    assert (said.returncode, said.stderr) == (0, "")
    assert "shared with other users" in said.stdout


def test_private_home_is_nobody_elses() -> None:
    """Whatever the umask, and whatever makes it: 0700, and its files for their owner."""
    with open_folder() as place:
        place.chmod(0o777)
        home = place / "home"
        code = f"import os; os.umask(0)\n{textwrap.dedent(TRACK)}"
        ran = ALICE.calls(home, "-c", code, "r")
        refused = MALLORY.runs(home, "import os; os.listdir(os.environ['STEPLOG_HOME'])")

        assert (ran.returncode, mode(home)) == (0, 0o700)
        assert "PermissionError" in refused.stderr
