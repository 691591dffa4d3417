"""A real daemon and the real W&B client offline, compared with the run log."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from steplogd.delivery.contract import Observation
from steplogd.delivery.wandb_rows import Row, points_of, row_from_columns, rows_of
from tests.conftest import run_program, wait_until
from tests.contract.wandb_store import WandbStore, inspect
from tests.daemon import configure, rows, serving, steplogd

WANDB = '[[backend]]\ntype = "wandb"\nmode = "offline"\nproject = "digits"\n'

TRAINING = """
    import math, sys
    import steplog
    with steplog.start_run("a-run", parameters={"lr": 0.1}):
        with steplog.task("train"):
            for step in range(int(sys.argv[1])):
                steplog.track_this(step=step * (-1) ** step, loss=1 / (step + 1), n=2**60 + step)
            steplog.track_this(note="läuft", worst=math.nan, shape=[1, 2])
"""


def wandb_processes(home: Path) -> list[int]:
    """Return the processes that run W&B for a home."""
    folder = str(home / "wandb")
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = str((entry / "cwd").readlink()).startswith(folder)
        except OSError:
            continue
        found += [int(entry.name)] * is_ours
    return found


def tracked(home: Path) -> list[Observation]:
    """Return the observations of the only run, as a backend gets them from the store."""
    from steplogd.store.cursors import Cursors
    from steplogd.store.database import Database

    database = Database(home / "steplog.db")
    try:
        pending = Cursors(database).pending("nobody", 1, 10**6, 10**9)
        return [Observation(*row) for row in pending.rows]
    finally:
        database.close()


def points(found: list[Row]) -> Counter[Any]:
    """Return what rows hold, however it was cut into them."""
    return Counter(point for row in found for point in points_of(row))


def delivered(home: Path) -> int:
    """Return how far the backend's cursor is."""
    found = rows(home, "SELECT max(position) FROM cursor WHERE backend = 'wandb'")
    return int(found[0][0] or 0) if found else 0


def test_all_that_was_tracked_is_in_w_and_bs_files(home: Path) -> None:
    """Point by point, as W&B's own reader reads them; and the run has ended there."""
    config = configure(home, WANDB)

    assert run_program(TRAINING, "500").returncode == 0
    done = steplogd("drain", "--config", config)

    assert done.returncode == 0, done.stderr
    store = WandbStore(home)
    found = [row for each in store.rows("a-run") if (row := row_from_columns(dict(each)))]
    assert points(list(rows_of(tracked(home)))) == points([_decoded(row) for row in found])
    assert store.read("a-run").status == "SUCCESS"
    assert store.read("a-run").parameters == {"lr": "0.1"}
    verified = steplogd("verify", "--config", config)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_daemon_that_is_killed_again_and_again_loses_and_doubles_nothing(home: Path) -> None:
    """With its child, or alone; all positions stand in the files once, in their order."""
    config = configure(home, WANDB)
    assert run_program(TRAINING, "6000").returncode == 0

    for kill_child in (False, True, False):
        reached = delivered(home)
        with serving(home, "--config", config) as daemon:
            wait_until(lambda: delivered(home) > reached)  # noqa: B023
            for pid in wandb_processes(home) * kill_child:
                os.kill(pid, signal.SIGKILL)
            daemon.kill()
    done = steplogd("drain", "--config", config)

    assert done.returncode == 0, done.stderr
    seen = [row["_step"] for row in WandbStore(home).rows("a-run")]
    assert [row.position for row in rows_of(tracked(home))] == seen
    wait_until(lambda: not wandb_processes(home))


def test_a_task_gets_w_and_bs_own_run(home: Path) -> None:
    """What it logs there lies beside what the daemon delivers, and how the run ended is ours."""
    config = configure(home, WANDB)
    program = """
        import steplog
        with steplog.start_run("a-run"), steplog.task("train"):
            steplog.track_this(loss=0.5)
            with steplog.get_experiment_tracker_context(timeout_seconds=100) as run:
                run.log({"mine": 7})
                print(run.id, run.project)
    """

    with serving(home, "--config", config):
        done = run_program(program, WANDB_ERROR_REPORTING="false")
        wait_until(lambda: WandbStore(home).read("a-run").status == "SUCCESS")

    assert done.stdout == "a-run digits\n", done.stderr
    assert [0.5] == [row["loss"] for row in WandbStore(home).rows("a-run")]
    (log,) = (home / "wandb" / "tasks" / "wandb").glob("offline-run-*/run-a-run.wandb")
    assert [7] == [row["item"]["mine"] for row in inspect(log, "history")]


def test_a_key_in_the_configuration_is_refused_with_the_place_for_it(home: Path) -> None:
    """And nothing is started."""
    config = configure(home, WANDB + 'api_key = "s3cret"\n')

    done = steplogd("check", "--config", config)

    assert done.returncode == 78
    assert "set WANDB_API_KEY for the daemon" in done.stderr + done.stdout
    assert "s3cret" not in done.stderr + done.stdout


def test_the_daemon_itself_never_imports_w_and_b(home: Path) -> None:
    """Its child does: a wandb-core that dies in a process does not come back there."""
    config = configure(home, WANDB)

    done = run_program(
        """
        import sys
        from pathlib import Path
        from steplogd.config import load_config
        from steplogd.delivery.contract import RunInfo
        config = load_config(Path(sys.argv[1]))
        (backend,) = [each.kind(each.options, config.home) for each in config.backends]
        backend.open(RunInfo("r", "", "PROCESSING", False, "", 1, None, {}))
        backend.close()
        print("wandb" in sys.modules)
        """,
        config,
    )

    assert (done.stdout, done.stderr) == ("False\n", "")


def _decoded(row: Row) -> Row:
    """Undo what W&B's reader makes of a number that JSON has no word for."""
    names = ("NaN", "Infinity", "-Infinity")
    row.cells = {k: float(v) if v in names else v for k, v in row.cells.items()}
    return row
