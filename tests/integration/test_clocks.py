"""Clocks that are set, stand still or lie: the order is the file's, and nothing is lost."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from steplog.events import MAX_TIMESTAMP
from tests.conftest import is_gapless, numbers, run_program, start_program, tracked, wait_until
from tests.daemon import configure, document, rows, serving, steplogd
from tests.lines import append, line

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.trackers import MlflowStore

CLOCKS = Path(__file__).with_name("clocks")
DAY = 86_400


@pytest.fixture
def set_clock(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Give all processes of the test a clock that it sets, to so many seconds from the real one."""
    file = tmp_path / "clock"

    def shift(seconds: int) -> None:
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(str(seconds))
        unfinished.replace(file)

    shift(0)
    monkeypatch.setenv("TEST_CLOCK", str(file))
    monkeypatch.setenv("PYTHONPATH", str(CLOCKS), prepend=os.pathsep)
    return shift


def drained(home: Path, run_id: str, mlflow: MlflowStore | None = None) -> dict[str, Any]:
    """Fold, end and deliver all; see that MLflow equals the run log; return that."""
    backend = f'[[backend]]\ntype = "mlflow"\nserver_url = "{mlflow.url}"\n' if mlflow else ""
    path = configure(home, backend)
    done = steplogd("drain", "--config", path)
    assert done.returncode == 0, done.stderr
    if mlflow:
        compared = steplogd("verify", "--config", path, "--json")
        assert compared.returncode == 0, compared.stdout + compared.stderr
    return document(home, run_id)


# --- the writer's clock -----------------------------------------------------------------------


JUMPS = """
    import os, sys, steplog
    def set_clock(seconds):
        with open(os.environ["TEST_CLOCK"] + ".tmp", "w") as file: file.write(str(seconds))
        os.replace(os.environ["TEST_CLOCK"] + ".tmp", os.environ["TEST_CLOCK"])
    with steplog.start_run("jumps"):
        for number, jump in enumerate(map(int, sys.argv[1:])):
            set_clock(jump)
            with steplog.task("train"):
                for step in range(10):
                    steplog.track_this(step=step, loss=float(number), step_only=step + number * 10)
                    steplog.track({"text": f"{number}"}, step=number * 10 + step)
"""


@pytest.mark.parametrize("jumps", [(0, -DAY, 0), (0, DAY, 0), (0, DAY, -DAY)])
def test_a_writers_clock_that_jumps_a_day_changes_no_order(
    set_clock: Callable[[int], None],
    home: Path,
    mlflow_server: MlflowStore,
    jumps: tuple[int, ...],
) -> None:
    """The later one in the file wins for each step; nothing ends before it began."""
    done = run_program(JUMPS, *map(str, jumps))
    assert done.stderr == ""

    set_clock(0)
    log = drained(home, "jumps", mlflow_server if jumps == (0, DAY, -DAY) else None)
    train = log["steps"]["train"]
    metrics = train["user_defined_metrics"]
    (ends,) = rows(home, "SELECT min(end_ts - start_ts) >= 0, count(*) FROM attempt")
    assert log["status"] == "SUCCESS"
    assert metrics["loss"] == {str(step): 2.0 for step in range(10)}
    assert metrics["step_only"] == {str(step): 20 + step for step in range(10)}
    assert metrics["text"] == {str(step): str(step // 10) for step in range(30)}
    assert [one["attempt_number"] for one in train["attempts"]] == [1, 2, 3]
    assert not any(one["duration"].startswith("-") for one in train["attempts"])
    assert ends == (1, 3)
    assert rows(home, "SELECT end_ts >= start_ts FROM run") == [(1,)]


def test_a_clock_set_back_within_a_run_ends_it_no_earlier_than_it_began(
    set_clock: Callable[[int], None], home: Path
) -> None:
    """Its end is its start then, rather than before it."""
    run_program(JUMPS, "0", str(-DAY))

    set_clock(0)
    drained(home, "jumps")

    assert rows(home, "SELECT start_ts = end_ts, status FROM run") == [(1, "SUCCESS")]


def test_writers_in_other_time_zones_agree(home: Path) -> None:
    """Times are of the epoch, whatever `TZ` says; so are those that the run log shows."""
    began = datetime.now(UTC)
    for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu", "nonsense"):
        done = run_program("import steplog; steplog.start_run('r').track_this(a=1)", TZ=zone)
        assert done.stderr == ""
    ended = datetime.now(UTC)

    times = [event.ts for event in tracked(home)]
    log = drained(home, "r")
    (attempt,) = log["steps"]["main"]["attempts"][:1]
    shown = datetime.fromisoformat(attempt["start_time"]).replace(tzinfo=UTC)
    assert times == sorted(times)
    assert began <= datetime.fromtimestamp(times[0] / 1e6, UTC) <= ended
    assert began - timedelta(seconds=1) <= shown <= ended


ODD_TIMES = [0, 1, 999, 1_000, 1_600_000_000_000_000, 4_102_444_800_000_000, MAX_TIMESTAMP]


def test_odd_times_and_steps_out_of_order_arrive(home: Path, mlflow_server: MlflowStore) -> None:
    """The epoch, the year 9999, the same time again, steps in any order: MLflow equals the log."""
    lines = [line("join", w="a", n=0, ts=ODD_TIMES[4])]
    steps = [5, 3, -1, 0, 2**62, 3, 5]
    for n, (ts, step) in enumerate(zip(ODD_TIMES, steps, strict=True), 1):
        lines.append(
            line("track", w="a", n=n, ts=ts, step=step, values={"loss": n / 7, "count": n})
        )
    same = [
        line("track", w="b", n=n, ts=ODD_TIMES[4], step=0, values={"same": n}) for n in range(9)
    ]
    leave = line("leave", w="a", n=len(lines), ts=1)
    append(home, "odd", *lines, *same, leave)

    metrics = drained(home, "odd", mlflow_server)["steps"]["main"]["user_defined_metrics"]

    wins = {str(step): n / 7 for n, step in enumerate(steps, 1)}
    assert metrics["loss"] == wins
    assert list(metrics["loss"]) == sorted(wins, key=int)
    assert metrics["same"] == 8
    assert rows(home, "SELECT status, end_ts >= start_ts FROM run") == [("SUCCESS", 1)]


AGES = [-(2**31), 0, 1, 2**31, 15_032_385_535]


def test_a_spool_of_any_age_is_folded(home: Path, mlflow_server: MlflowStore) -> None:
    """Lines that do not say when they were written take the file's time, as far as there is one."""
    for number, seconds in enumerate(AGES):
        told = [line("track", step=step, values={"a": step}) for step in range(3)]
        os.utime(append(home, f"age{number}", *told), (seconds, seconds))

    drained(home, "age0", mlflow_server)

    for number in range(len(AGES)):
        metrics = document(home, f"age{number}")["steps"]["main"]["user_defined_metrics"]
        assert metrics == {"a": {"0": 0, "1": 1, "2": 2}}
    starts = [start for (start,) in rows(home, "SELECT start_ts FROM run ORDER BY run_id")]
    assert starts == [1, 1, 10**6, 2**31 * 10**6, 15_032_385_535 * 10**6]
    assert rows(home, "SELECT count(*) FROM run WHERE revision > 3") == [(0,)]


# --- the daemon's clock -----------------------------------------------------------------------


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_daemons_clock_that_jumps_a_day_ends_no_run(
    set_clock: Callable[[int], None], home: Path, jump: int
) -> None:
    """A living run goes on, and so does one of visitors; a run that was left still ends."""
    with serving(home, "--config", configure(home)):
        writer = start_program("""
            import sys, steplog
            with steplog.start_run("living") as run:
                run.track_this(a=1)
                print("in", flush=True)
                sys.stdin.readline()
                run.track_this(a=2)
        """)
        assert writer.stdout is not None
        writer.stdout.readline()
        append(home, "visited", line("track", values={"a": 1}))
        wait_until(lambda: len(rows(home, "SELECT 1 FROM observation")) == 2)
        set_clock(jump)
        run_program("import steplog\nwith steplog.start_run('left') as run: run.track_this(a=1)")
        wait_until((home / "runs" / "left.json").exists)
        run_program("import steplog\nwith steplog.start_run('again') as run: run.track_this(a=1)")
        wait_until((home / "runs" / "again.json").exists)
        open_runs = rows(home, "SELECT run_id FROM run WHERE status = 'PROCESSING' ORDER BY run_id")
        writer.communicate("go on\n")
        wait_until((home / "runs" / "living.json").exists)

    assert open_runs == [("living",), ("visited",)]
    assert document(home, "living")["status"] == "SUCCESS"
    assert is_gapless(numbers(home, "living"))


# --- a machine that is restarted --------------------------------------------------------------


def test_a_machine_that_is_restarted_fails_its_run_until_it_goes_on(home: Path) -> None:
    """All is killed at once, the daemon too; whoever joins after the boot opens the run again."""
    config = configure(home)
    program = """
        import sys, steplog
        run = steplog.start_run("r")
        with run.task("train"):
            for step in range(10**9): run.track({sys.argv[1]: step}, step=step)
    """
    with serving(home, "--config", config) as daemon:
        writers = [start_program(program, f"w{k}") for k in range(3)]
        wait_until(lambda: len(rows(home, "SELECT DISTINCT key FROM series")) == 3)
        for pid in (daemon.pid, *(writer.pid for writer in writers)):
            os.kill(pid, signal.SIGKILL)
        for writer in writers:
            writer.communicate()
    (home / "steplogd.lock").write_text("1\n")  # the process id of another process by now

    assert drained(home, "r")["status"] == "FAIL"
    assert rows(home, "SELECT killed FROM run") == [(1,)]
    run_program("""
        import steplog
        with steplog.start_run("r") as run, run.task("train"): run.track_this(on=1)
    """)
    assert steplogd("drain", "--config", config).returncode == 0
    spool = [event.values for event in tracked(home)]
    log = document(home, "r")
    assert log["status"] == "SUCCESS"
    assert [one["status"] for one in log["steps"]["train"]["attempts"]] == ["FAIL", "SUCCESS"]
    found = log["steps"]["train"]["user_defined_metrics"]
    for key in ("w0", "w1", "w2"):
        counted = [one[key] for one in spool if key in one]
        assert counted == [*range(len(counted))]
        assert found[key] == {str(step): step for step in counted}
    assert found["on"] == 1
