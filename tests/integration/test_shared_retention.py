"""Retention in a home that several users share: whose a run is stays so when its spool is gone."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steplog.home import spool_path
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import QUICK, rows
from tests.people import ALICE, DAEMON, MALLORY, open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RETENTION = '[retention]\naction = "compress"\nafter_days = 0\n'
TRACK = """
    import sys, steplog
    with steplog.start_run("r") as run:
        steplog.track_this(step=int(sys.argv[1]), loss=0.5)
        print(run.run_id)
"""
MADE_UP = """
    import itertools, sys, steplog
    from steplog import spool
    names = itertools.chain(["quick-bohr-0300"], (f"other-{n}" for n in range(99)))
    spool.propose_run_id = lambda: next(names)
    with steplog.start_run() as run:
        steplog.track_this(step=int(sys.argv[1]), loss=0.5)
        print(run.run_id)
"""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a shared home as the daemon's user, with short rests."""
    with open_folder() as folder:
        monkeypatch.syspath_prepend(ROOT)
        place = folder / "state"
        place.mkdir()
        os.chown(place, DAEMON.uid, DAEMON.uid)
        path, config, log = place / "home", folder / "steplogd.toml", folder / "steplogd.log"
        config.write_text(f'home = "{path}"\nshared = true\n{QUICK}{RETENTION}')
        config.chmod(0o644)
        words = ("-m", "tests.integration.impatient", "run", "--config", str(config))
        with log.open("wb") as stderr:
            daemon = DAEMON.starts(path, *words, stderr=stderr.fileno())
        try:
            wait_until(lambda: b'"serving"' in log.read_bytes() or daemon.poll() is not None)
            assert daemon.poll() is None, log.read_text()
            yield path
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate(timeout=DEADLINE_SECONDS)


def archived(home: Path) -> list[str]:
    """Return the names of all that is archived."""
    return sorted(path.name for path in (home / "archive").glob("*"))


def seen(home: Path) -> list[tuple[str, int]]:
    """Return the observations, by run id and step."""
    return rows(home, "SELECT run_id, step FROM observation JOIN run USING (run_no)")


def test_a_run_whose_spool_is_archived_stays_its_owners(home: Path) -> None:
    """Its owner goes on in it; who else asks for it gets one of his own, and forges nothing."""
    ALICE.runs(home, TRACK, "1")
    wait_until(lambda: archived(home) == ["r.1.jsonl.gz"])
    other = MALLORY.runs(home, TRACK, "2")
    forge = 'printf \'{"t":"track","step":3,"values":{"x":1}}\\n\' > "$0"'
    code = f"import subprocess; subprocess.run(['sh', '-c', {forge!r}, '{spool_path(home, 'r')}'])"
    MALLORY.runs(home, code)
    named = f"is another user's, whose spool was archived; user {MALLORY.uid} took its name"
    wait_until(lambda: named in (home.parent.parent / "steplogd.log").read_text())
    spool_path(home, "r").unlink()
    mine = ALICE.runs(home, TRACK, "4")
    wait_until(lambda: [name[-3:] for name in archived(home)] == [".gz"] * 3)

    assert (other.stdout, mine.stdout) == (f"r-u{MALLORY.uid}\n", "r\n")
    assert sorted(seen(home)) == [("r", 1), ("r", 4), (f"r-u{MALLORY.uid}", 2)]
    assert {path.stat().st_mode & 0o777 for path in (home / "archive").iterdir()} == {0o600}
    assert (home / "archive").stat().st_mode & 0o777 == 0o700


def test_made_up_name_is_none_whose_spool_is_archived(home: Path) -> None:
    """Not of a run of one's own either: two trainings would become one."""
    first = ALICE.runs(home, MADE_UP, "1")
    wait_until(lambda: archived(home) == ["quick-bohr-0300.1.jsonl.gz"])
    second = ALICE.runs(home, MADE_UP, "2")

    assert (first.stdout, second.stdout) == ("quick-bohr-0300\n", "other-0\n")


def test_run_log_is_not_imported_into_a_run_whose_spool_is_archived(home: Path) -> None:
    """It would be refused there for ever, or become one with it; who imports it is told."""
    path = home.parent.parent / "r.json"
    sample = ROOT / "tests/integration/samples/seed/blazing-colden-0544.json"
    path.write_text(sample.read_text("utf-8").replace(sample.stem, "r"))
    path.chmod(0o644)
    ALICE.runs(home, TRACK, "1")
    wait_until(lambda: archived(home) == ["r.1.jsonl.gz"])

    told = [person.steplog(home, "import", str(path)) for person in (MALLORY, ALICE)]

    assert [one.stdout.splitlines()[-1] for one in told] == 2 * ["imported 0, skipped 1"]
    assert not spool_path(home, "r").exists()
