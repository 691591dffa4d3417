"""The daemon, killed between any two stages and started again: nothing is lost, nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import arrivals, configure, document, rows, serving, steplogd
from tests.lines import Scribe, append, line

HERE = Path(__file__).parent
KILLER = HERE / "killer.py"
BACKEND = '[[backend]]\ntype = "file"\n'
STEPS = 120
BATCH = 40

PLACES = [
    ("steplogd.folding.spools:Spools.read", "after"),
    ("steplogd.folding.line:decode", "after"),
    ("steplogd.core.fold:Fold.apply", "after"),
    ("steplogd.store.run_logs:RunLogs.commit", "before"),
    ("steplogd.store.run_logs:_write_run", "after"),
    ("steplogd.store.run_logs:_write_changes", "after"),
    ("steplogd.store.run_logs:RunLogs.commit", "after"),
    ("steplogd.folding.line:Line.end_runs", "before"),
    ("steplogd.folding.line:Line.end_runs", "after"),
    ("steplogd.delivery.courier:Courier._session", "after"),
    ("filetracker:FileSession.send", "before"),
    ("filetracker:FileSession.send", "after"),
    ("steplogd.store.cursors:Cursors.acknowledge", "after"),
    ("filetracker:FileSession.settle", "before"),
    ("filetracker:FileSession.settle", "after"),
    ("steplogd.store.cursors:Cursors.settle", "after"),
    ("steplogd.documents:write_run_log", "before"),
    ("steplogd.documents:write_run_log", "after"),
    ("steplogd.store.documents:Documents.written", "before"),
    ("steplogd.store.documents:Documents.written", "after"),
]


@pytest.fixture(autouse=True)
def third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the daemon find a backend that is not ours."""
    monkeypatch.setenv("PYTHONPATH", str(HERE / "third_party"), prepend=os.pathsep)


def tell(home: Path, run_id: str) -> None:
    """Write the spool of a run that is over: some chunks long, with a torn line in it."""
    a, visitor = Scribe("a"), Scribe("v")
    begin = [a.line("open"), a.line("join", tag="t")]
    tracks = [a.track(step=step, loss=step / 7) for step in range(STEPS)]
    torn = b'{"t":"track","w":"x","n":0,"va' + visitor.track(step=STEPS, loss=0.5)
    append(home, run_id, *begin, *tracks, torn, a.line("leave"))


def run_killed(config: str, place: str, moment: str, number: int, *command: str) -> int:
    """Run a command of the daemon until it is killed there; return its exit status."""
    arguments = [sys.executable, str(KILLER), place, moment, str(number), *command]
    done = subprocess.run(
        [*arguments, "--config", config], capture_output=True, timeout=DEADLINE_SECONDS, check=False
    )
    return done.returncode


def check(home: Path, run_id: str) -> None:
    """Compare all that there is of a run with what was told."""
    expected = [*((step, step / 7) for step in range(STEPS)), (STEPS, 0.5)]
    (run,) = rows(
        home,
        "SELECT run_no, status, killed, position, gaps, repeated, malformed FROM run "
        f"WHERE run_id = '{run_id}'",
    )
    number = run[0]
    assert run[1:] == ("SUCCESS", 0, STEPS + 1, 0, 0, 1)
    assert (
        rows(home, f"SELECT step, value FROM observation WHERE run_no = {number} ORDER BY position")
        == expected
    )
    metrics = document(home, run_id)["steps"]["train"]["user_defined_metrics"]
    assert metrics == {"loss": {str(step): value for step, value in expected}}
    check_arrived(home, run_id, expected)


def check_arrived(home: Path, run_id: str, expected: list[tuple[int, float]]) -> None:
    """Compare what the backend has, where an observation goes by its position."""
    lines = list(arrivals(home / "arrived.jsonl"))
    told = [one for one in lines if one["run"] == run_id]
    seen = {one["at"]: (one["step"], one["value"]) for one in told if "at" in one}
    assert seen == dict(enumerate(expected, 1))
    assert len(seen) == len({(at, *one) for at, one in seen.items()})
    assert [one["status"] for one in told if "status" in one][-1] == "SUCCESS"


@pytest.mark.parametrize(("place", "moment"), PLACES)
def test_nothing_is_lost_and_nothing_comes_twice(home: Path, place: str, moment: str) -> None:
    """Killed at the first time, killed again at the second, and then left alone."""
    config = configure(home, BACKEND)
    for run_id in ("r1", "r2"):
        tell(home, run_id)

    first = run_killed(config, place, moment, 1, "drain")
    run_killed(config, place, moment, 2, "drain")
    last = steplogd("drain", "--config", config)

    assert (first, last.returncode) == (-signal.SIGKILL, 0), last.stderr
    for run_id in ("r1", "r2"):
        check(home, run_id)
    assert not list((home / "runs").glob("*.tmp"))


@pytest.mark.parametrize(
    "place", ["steplogd.store.run_logs:_write_changes", "filetracker:FileSession.send"]
)
def test_a_daemon_that_serves_goes_on_where_the_killed_one_was(home: Path, place: str) -> None:
    """It is told of nothing: it looks for itself."""
    config = configure(home, BACKEND)
    tell(home, "r1")

    killed = run_killed(config, place, "after", 2, "run")
    with serving(home, "--config", config):
        tell(home, "r2")
        for run_id in ("r1", "r2"):
            wait_until((home / "runs" / f"{run_id}.json").exists)
        wait_until(lambda: not rows(home, BEHIND))

    assert killed == -signal.SIGKILL
    for run_id in ("r1", "r2"):
        check(home, run_id)


BEHIND = (
    "SELECT 1 FROM run LEFT JOIN cursor USING (run_no) WHERE status = 'PROCESSING' "
    "OR coalesce(cursor.revision, 0) < run.revision OR cursor.position < run.position"
)


def test_each_kill_sends_at_most_one_batch_again(home: Path) -> None:
    """What was acknowledged is not sent again: a backend without positions sees few twice."""
    config = configure(home, BACKEND)
    tell(home, "r1")
    run_killed(config, "steplogd.store.cursors:Cursors.acknowledge", "before", 2, "drain")

    steplogd("drain", "--config", config)

    lines = list(arrivals(home / "arrived.jsonl"))
    times = Counter(one["at"] for one in lines if "at" in one)
    twice = [at for at, count in times.items() if count > 1]
    assert 1 <= len(twice) <= BATCH
    assert max(times.values()) == 2


def test_a_new_backend_gets_all_that_was_ever_folded(home: Path) -> None:
    """It is added late, and the spool need not be there any more."""
    config = configure(home)
    tell(home, "r1")
    steplogd("drain", "--config", config)
    (home / "spool" / "r1.jsonl").unlink()

    told = steplogd("drain", "--config", configure(home, BACKEND))

    assert told.returncode == 0
    check(home, "r1")


def test_a_store_that_is_lost_is_folded_again_from_the_spools(home: Path) -> None:
    """They are the truth; the backend gets the same positions once more."""
    config = configure(home, BACKEND)
    tell(home, "r1")
    append(home, "r2", line("track", values={"x": 1}))
    steplogd("drain", "--config", config)
    for path in home.glob("steplog.db*"):
        path.unlink()

    told = steplogd("drain", "--config", config)

    assert told.returncode == 0
    check(home, "r1")


READABLE = f"{BACKEND}reads = true\n"


def times_arrived(home: Path) -> set[int]:
    """Return how often observations arrived."""
    lines = list(arrivals(home / "arrived.jsonl"))
    return set(Counter((one["run"], one["at"]) for one in lines if "at" in one).values())


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("lost", ["-wal", "-shm"])
def test_a_wal_that_is_lost_after_a_kill_costs_nothing(home: Path, lost: str, number: int) -> None:
    """Nor do the locks; a readable backend gets nothing again but what was in flight."""
    config = configure(home, READABLE)
    tell(home, "r1")
    place = "steplogd.store.cursors:Cursors.acknowledge"
    killed = run_killed(config, place, "after", number, "drain")
    (home / f"steplog.db{lost}").unlink()

    told = steplogd("drain", "--config", config)

    assert (killed, told.returncode) == (-signal.SIGKILL, 0), told.stderr
    assert ("its WAL was deleted" in told.stderr) == (lost == "-wal")
    check(home, "r1")
    assert times_arrived(home) == {1}


def test_a_wal_that_is_lost_with_the_spool_costs_its_last_commits_alone(home: Path) -> None:
    """What cannot be folded again is not set aside."""
    config = configure(home, READABLE)
    tell(home, "r1")
    steplogd("drain", "--config", config)
    (home / "spool" / "r1.jsonl").unlink()
    tell(home, "r2")
    run_killed(config, "steplogd.store.cursors:Cursors.acknowledge", "after", 2, "drain")
    (home / "steplog.db-wal").unlink()

    told = steplogd("drain", "--config", config)

    assert told.returncode == 0, told.stderr
    for run_id in ("r1", "r2"):
        check(home, run_id)
    assert times_arrived(home) == {1}


def test_who_looks_at_a_killed_daemons_store_does_not_take_its_wal(home: Path) -> None:
    """Or the next daemon would believe that it was lost."""
    config = configure(home, READABLE)
    tell(home, "r1")
    run_killed(config, "steplogd.store.cursors:Cursors.acknowledge", "after", 2, "drain")
    for command in ("status", "verify", "dead-letters"):
        steplogd(command, "--config", config)

    told = steplogd("drain", "--config", config)

    assert told.returncode == 0
    assert "folded again" not in told.stderr
    check(home, "r1")


@pytest.mark.parametrize(
    ("place", "moment", "number"),
    [
        ("steplogd.store.breakage:set_aside", "before", 1),
        ("pathlib:Path.rename", "before", 3),  # what belongs to the file is renamed first
        ("pathlib:Path.rename", "after", 3),
        ("steplogd.serving:set_aside", "after", 1),
        ("steplogd.store.database:Database._make_schema", "before", 1),
        ("steplogd.store.database:Database._make_schema", "after", 1),
        ("steplogd.service:take", "after", 1),
        ("steplogd.store.run_logs:RunLogs.commit", "after", 1),
        ("steplogd.store.run_logs:RunLogs.commit", "after", 2),
        ("filetracker:FileSession.settle", "after", 1),
        ("steplogd.store.cursors:Cursors.acknowledge", "after", 1),
        ("steplogd.store.cursors:Cursors.acknowledge", "after", 3),
    ],
)
def test_a_daemon_that_is_killed_while_it_folds_all_again(
    home: Path, place: str, moment: str, number: int
) -> None:
    """The next one goes on, and still knows what the backend may hold."""
    config = configure(home, READABLE)
    tell(home, "r1")
    run_killed(config, "steplogd.store.cursors:Cursors.acknowledge", "after", 2, "drain")
    (home / "steplog.db").write_bytes(b"mine" * 5000)
    killed = run_killed(config, place, moment, number, "drain")

    told = steplogd("drain", "--config", config)

    assert (killed, told.returncode) == (-signal.SIGKILL, 0), told.stderr
    check(home, "r1")
    assert times_arrived(home) == {1}
    assert len(list(home.glob("steplog.db.broken-*Z"))) >= 1
