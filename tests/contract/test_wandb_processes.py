"""What becomes of a run when W&B's processes are killed, stopped, or left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steplogd.delivery.contract import Unavailable
from steplogd.delivery.wandb import WandbBackend, WandbOptions
from steplogd.delivery.wandb_child import is_running
from tests.conftest import run_program, start_program, wait_until
from tests.contract.trackers import make_batch, make_run

if TYPE_CHECKING:
    from steplogd.delivery.contract import Observation, Session
    from tests.contract.wandb_store import WandbStore


def started_by(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def child_of(backend: WandbBackend) -> int:
    """Return the process in which W&B runs."""
    assert backend.child.pid is not None
    return backend.child.pid


def send_stubbornly(backend: WandbBackend, session: Session, batch: list[Observation]) -> None:
    """Send a batch as the exporter does: again, on a new session, until it is taken."""
    run = make_run(session.counterpart["id"])  # type: ignore[attr-defined]
    for _ in range(5):
        try:
            session.send(batch)
        except Unavailable:
            session = backend.open(run)
        else:
            return
    pytest.fail("W&B did not recover")


@pytest.mark.parametrize("victim", ["child", "wandb-core"])
def test_a_kill_within_a_batch_loses_nothing_and_doubles_nothing(
    wandb_store: WandbStore, victim: str
) -> None:
    """Whichever of W&B's two processes it hits."""
    run = make_run()
    batch = make_batch(range(4000))
    backend = wandb_store.backend()
    session = backend.open(run)
    session.send(batch[:10])
    child = child_of(backend)
    (log,), size = wandb_store.logs(run.run_id), 0

    def is_in_the_midst() -> bool:
        return log.stat().st_size > size + 100_000

    size = log.stat().st_size
    with ThreadPoolExecutor() as threads:
        sending = threads.submit(send_stubbornly, backend, session, batch)
        wait_until(is_in_the_midst)
        os.kill(child if victim == "child" else started_by(child)[0], signal.SIGKILL)
        sending.result()

    assert list(range(1, 4001)) == wandb_store.positions(run.run_id)
    assert len(wandb_store.logs(run.run_id)) == 2


@pytest.mark.parametrize(("mode", "is_ended"), [("ab", True), ("rb", False)])
def test_who_still_writes_a_file_is_ended_before_it_is_read(
    wandb_store: WandbStore, mode: str, is_ended: bool
) -> None:
    """As a wandb-core that outlives its child does; whoever only reads it is left alone."""
    run = make_run()
    wandb_store.backend().open(run).send(make_batch([0.5]))
    (log,) = wandb_store.logs(run.run_id)
    wandb_store.backend()
    code = "import sys; f = open(*sys.argv[1:]); print(flush=True); sys.stdin.read()"

    with start_program(code, str(log), mode) as other:
        assert other.stdout is not None
        other.stdout.readline()
        wandb_store.backend().open(run)

        assert is_running(other.pid) is not is_ended
        other.kill()


def test_a_run_whose_files_were_taken_away_is_written_again(wandb_store: WandbStore) -> None:
    """When it is opened again, as for a replay: the process of W&B knew better, and is ended."""
    run = make_run()
    batch = make_batch([0.5, 0.25])
    backend = wandb_store.backend()
    backend.open(run).send(batch)
    (log,) = wandb_store.logs(run.run_id)
    shutil.rmtree(log.parent)

    with pytest.raises(Unavailable, match="are gone"):
        backend.open(run)
    backend.open(run).send(batch)

    assert [1, 2] == wandb_store.positions(run.run_id)


def test_a_child_that_hangs_is_ended_in_time(wandb_store: WandbStore) -> None:
    """With wandb-core; the next call has a new one."""
    run = make_run()
    batch = make_batch(range(4))
    backend = wandb_store.backend()
    session = backend.open(run)
    session.send(batch[:2])
    child, patience = child_of(backend), backend.child.patience_seconds
    processes = [child, *started_by(child)]
    os.kill(child, signal.SIGSTOP)
    backend.child.patience_seconds = 0.2

    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"did not answer within 0\.2 s"):
        session.send(batch)
    took = time.monotonic() - began
    backend.child.patience_seconds = patience
    send_stubbornly(backend, session, batch)

    assert took < 10
    assert not any(map(is_running, processes))
    assert list(range(1, 5)) == wandb_store.positions(run.run_id)


def test_a_full_pipe_of_a_child_that_hangs_is_no_trap(wandb_store: WandbStore) -> None:
    """A batch larger than the pipe cannot even be handed over."""
    run = make_run()
    backend = wandb_store.backend()
    session = backend.open(run)
    patience = backend.child.patience_seconds
    os.kill(child_of(backend), signal.SIGSTOP)
    backend.child.patience_seconds = 0.2

    with pytest.raises(Unavailable):
        session.send(make_batch(["x" * 100_000] * 10))
    backend.child.patience_seconds = patience


def test_a_killed_daemon_leaves_no_process_behind(tmp_path: Path) -> None:
    """Neither the child, which notices, nor wandb-core."""
    program = start_program(
        """
        import sys, time
        from pathlib import Path
        from steplogd.delivery.wandb import WandbBackend, WandbOptions
        from tests.contract.trackers import make_batch, make_run
        backend = WandbBackend(WandbOptions(mode="offline"), Path(sys.argv[1]))
        backend.open(make_run()).send(make_batch([1.0]))
        print(backend.child.pid, flush=True)
        time.sleep(60)
        """,
        str(tmp_path),
    )
    with program:
        assert program.stdout is not None
        child = int(program.stdout.readline())
        processes = [child, *started_by(child)]

        program.kill()

    assert len(processes) == 2
    wait_until(lambda: not any(map(is_running, processes)))


def test_a_closed_backend_leaves_no_process_behind(wandb_store: WandbStore) -> None:
    """Also when one of its runs goes on."""
    backend = wandb_store.backend()
    backend.open(make_run()).send(make_batch([1.0]))
    child = child_of(backend)
    processes = [child, *started_by(child)]

    backend.close()

    assert not any(map(is_running, processes))


def test_a_look_from_another_process_disturbs_nobody(tmp_path: Path) -> None:
    """`steplogd verify` reads a run while the daemon writes it, by the same process to the end."""
    run = make_run()
    batch = make_batch(range(6))
    serving, looking = (WandbBackend(WandbOptions(mode="offline"), tmp_path) for _ in range(2))
    with contextlib.closing(serving), contextlib.closing(looking):
        session = serving.open(run)
        session.send(batch[:3])
        writers = [child_of(serving), *started_by(child_of(serving))]

        seen = looking.look(run)
        assert seen is not None
        held = {point.value for point in seen.held() if point.name == "loss"}
        session.send(batch[3:])

        assert held == {"0", "1", "2"}
        assert writers == [child_of(serving), *started_by(child_of(serving))]


def test_a_client_in_a_child_process_has_the_run_as_well(tmp_path: Path) -> None:
    """While its parent has it, and after that: each by a process of W&B's own."""
    program = """
        import json, multiprocessing, os, sys
        from steplogd.delivery.wandb_client import client_context

        def use(where):
            with client_context(where) as run:
                run.log({"own": 1})
                return run.id

        where = json.loads(sys.argv[1])
        with client_context(where) as run, multiprocessing.Pool(2) as pool:
            print(run.id, *pool.map(use, [where, where]))
        with multiprocessing.Pool(2) as pool:
            print(*pool.map(use, [where, where]))
    """
    names = ("type", "entity", "project", "id", "mode", "base_url", "directory")
    where = dict.fromkeys(names, "") | {"project": "p", "id": "a-run", "mode": "offline"}
    where["directory"] = str(tmp_path)

    done = run_program(program, json.dumps(where), WANDB_ERROR_REPORTING="false")

    assert (done.stdout.split(), done.returncode) == (["a-run"] * 5, 0), done.stderr
