"""The MLflow backend when requests, answers and servers fail: nothing is lost, nothing doubled."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import pytest

from steplogd.delivery.contract import Unavailable
from tests.behind_proxy import TIMEOUT_SECONDS, active, arrived, connect
from tests.conftest import wait_until
from tests.contract.trackers import (
    START_TS,
    MlflowStore,
    make_batch,
    make_run,
)
from tests.mlflow_server import Server
from tests.torture.proxy import ANSWERS, DRIP, FAULTS, HEADERS, LATE, LOST, Proxy, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.delivery.contract import RunInfo

END_TS = START_TS + 60_000_000
NUMBERS = make_batch([0.5, 1.5, 2.5])
LONG_TEXT = make_batch(["x" * 7000], key="text", first=4)
LARGE = make_batch(["x" * 5000] * 20, key="large", first=10)


def ended(run: RunInfo) -> RunInfo:
    return make_run(run.run_id, status="SUCCESS", end_ts=END_TS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_batch_that_may_not_have_arrived_is_sent_again(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path, fault: str
) -> None:
    """Whatever answers in MLflow's place, and whatever becomes of its own answer."""
    run = make_run()
    session = connect(proxy, tmp_path).open(run)
    proxy.choose = in_order([fault], "runs/log-batch")

    with pytest.raises(Unavailable):
        session.send(NUMBERS)
    session.send(NUMBERS)
    proxy.let_late_ones_through()

    wait_until(lambda: proxy.happened == {fault: 1})
    assert arrived(mlflow_server, run, NUMBERS)


@pytest.mark.parametrize("lost", range(6))
def test_whichever_of_several_requests_did_not_arrive_is_missed(
    proxy: Proxy,
    mlflow_server: MlflowStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: int,
) -> None:
    """One look proves four of them, and more are looked at before a mark is overwritten."""
    monkeypatch.setattr("steplogd.delivery.mlflow_session.METRICS_PER_CALL", 1)
    run, batch = make_run(), make_batch([0.5, 1.5, 2.5, 3.5, 4.5, 5.5])
    session = connect(proxy, tmp_path).open(run)
    asked = iter(range(len(batch)))
    proxy.choose = lambda request: (
        "an empty object" if "log-batch" in request.path and next(asked, None) == lost else None
    )

    with pytest.raises(Unavailable, match="yes to what it does not have"):
        session.send(batch)
    session.send(batch)

    assert arrived(mlflow_server, run, batch)


def test_four_requests_are_proved_by_one_look(proxy: Proxy, tmp_path: Path) -> None:
    """A full batch of the backend: the run is read back once."""
    backend = connect(proxy, tmp_path)
    session = backend.open(make_run())
    asked: list[str] = []
    proxy.choose = lambda request: asked.append(request.path)

    session.send(make_batch([0.5] * backend.limits.observations))

    calls = [path.partition("?")[0].rpartition("/")[2] for path in asked]
    assert calls == ["log-batch"] * 4 + ["get"]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in (DRIP, HEADERS)])
def test_a_run_whose_create_has_no_answer_is_one_in_the_end(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path, fault: str
) -> None:
    """Also when the server makes it after another one was made, and has values."""
    run = make_run()
    backend = connect(proxy, tmp_path)
    proxy.choose = in_order([fault], "runs/create")
    with pytest.raises(Unavailable):
        backend.open(run)

    session = backend.open(run)
    session.send(NUMBERS)
    proxy.let_late_ones_through()
    session.settle(ended(run))

    assert len(active(mlflow_server, run)) == 1
    assert arrived(mlflow_server, run, NUMBERS)


def test_a_create_that_comes_after_the_run_has_ended_leaves_no_second_run(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path
) -> None:
    """It is looked for once more when the daemon stops."""
    run = make_run()
    backend = connect(proxy, tmp_path)
    proxy.choose = in_order([LATE], "runs/create")
    with pytest.raises(Unavailable):
        backend.open(run)
    session = backend.open(run)
    session.send(NUMBERS)
    session.settle(ended(run))

    proxy.let_late_ones_through()
    twins = active(mlflow_server, run)
    backend.close()

    assert len(twins) == 2
    assert arrived(mlflow_server, run, NUMBERS)


def test_a_run_that_was_deleted_holds_up_the_opening_of_no_other(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is looked whether a late create has made a second one of it."""
    monkeypatch.setattr("steplogd.delivery.mlflow_runs.LOOK_AGAIN_SECONDS", 0.0)
    deleted, other = make_run(), make_run()
    backend = connect(proxy, tmp_path)
    proxy.choose = in_order([LOST], "runs/create")
    with pytest.raises(Unavailable):
        backend.open(deleted)
    (mlflow_id,) = active(mlflow_server, deleted)
    mlflow_server.client.delete_run(mlflow_id)

    backend.open(other).send(NUMBERS)

    assert arrived(mlflow_server, other, NUMBERS)


@pytest.mark.parametrize("call", ["runs/search", "experiments/get-by-name"])
@pytest.mark.parametrize("fault", ["an empty object", "404 with HTML", "JSON of another shape"])
def test_who_says_that_there_is_no_run_is_not_believed(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path, call: str, fault: str
) -> None:
    """There is one, with values, and it stays the only one."""
    run = make_run()
    connect(proxy, tmp_path).open(run).send(NUMBERS[:1])
    proxy.choose = in_order([fault], call)

    with contextlib.suppress(Unavailable):
        connect(proxy, tmp_path).open(run)
    connect(proxy, tmp_path).open(run).send(NUMBERS[1:])

    wait_until(lambda: proxy.happened == {fault: 1})
    assert arrived(mlflow_server, run, NUMBERS)


@pytest.mark.parametrize("fault", [*ANSWERS, LOST, LATE])
def test_an_upload_that_may_not_have_arrived_is_made_again(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path, fault: str
) -> None:
    """MLflow answers an upload with nothing at all, so it is looked at."""
    run = make_run()
    session = connect(proxy, tmp_path).open(run)
    proxy.choose = in_order([fault], "/mlflow-artifacts/artifacts")

    with pytest.raises(Unavailable):
        session.send(LONG_TEXT)
    session.send(LONG_TEXT)
    wait_until(lambda: proxy.happened == {fault: 1})
    proxy.let_late_ones_through()

    assert mlflow_server.read(run.run_id).others == {("text", 0): "x" * 7000}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_runs_end_that_may_not_have_arrived_is_told_again(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path, fault: str
) -> None:
    """Its status and its end are read back."""
    run = make_run()
    session = connect(proxy, tmp_path).open(run)
    proxy.choose = in_order([fault], "runs/update")

    with pytest.raises(Unavailable):
        session.settle(ended(run))
    session.settle(ended(run))
    proxy.let_late_ones_through()

    found = mlflow_server.read(run.run_id)
    assert (found.status, found.end_ms, found.runs) == ("SUCCESS", END_TS // 1000, 1)


@pytest.mark.parametrize("fault", ["429 with seconds", "429 with a date", "503 with seconds"])
def test_a_server_that_asks_for_time_gets_it(proxy: Proxy, tmp_path: Path, fault: str) -> None:
    """The error says for how long."""
    session = connect(proxy, tmp_path).open(make_run())
    proxy.choose = in_order([fault], "runs/log-batch")

    with pytest.raises(Unavailable) as told:
        session.send(NUMBERS)

    assert told.value.retry_after_seconds in (0, 1)


def test_values_are_never_logged_in_the_background(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever MLflow's environment says: what is acknowledged was sent."""
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    run = make_run()
    session = connect(proxy, tmp_path).open(run)
    proxy.choose = in_order(["500"], "runs/log-batch")

    with pytest.raises(Unavailable):
        session.send(NUMBERS)
    session.send(NUMBERS)

    assert arrived(mlflow_server, run, NUMBERS)


def test_a_run_that_goes_on_is_not_told_so_again(proxy: Proxy, tmp_path: Path) -> None:
    """Such a call, come late, would lie over the run's end."""
    run = make_run()
    asked: list[str] = []
    proxy.choose = lambda request: asked.append(request.path)

    connect(proxy, tmp_path).open(run).settle(run)

    assert not [path for path in asked if "runs/update" in path]


def test_a_database_that_is_locked_is_waited_for(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path
) -> None:
    """By a backup, say; what the server did of it when we had given up does not count twice."""
    run = make_run()
    session = connect(proxy, tmp_path).open(run)
    database = sqlite3.connect(mlflow_server.folder / "server.db", isolation_level=None)
    with contextlib.closing(database):
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable):
            session.send(NUMBERS)
        database.execute("ROLLBACK")

    session.send(NUMBERS)

    assert arrived(mlflow_server, run, NUMBERS)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a file system to fill")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_server_is_waited_for_when_it_is_stopped_killed_or_its_disk_is_full(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, with one session: each value is there once in the end."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", TIMEOUT_SECONDS)
    server, run = Server(small_disk), make_run()
    server.start()
    store = MlflowStore(small_disk, server.url)
    with contextlib.ExitStack() as ending:
        ending.callback(server.end)
        session = store.backend().open(run)
        ballast = small_disk / "ballast"
        fill(ballast)
        with pytest.raises(Unavailable):
            session.send(LARGE)
        ballast.unlink()
        session.send(NUMBERS[:1])
        server.tell(signal.SIGSTOP)
        with pytest.raises(Unavailable):
            session.send(NUMBERS[1:2])
        server.tell(signal.SIGCONT)
        session.send(NUMBERS[1:2])
        server.kill()
        with pytest.raises(Unavailable):
            session.send(NUMBERS[2:])
        server.start()
        session.send(NUMBERS[2:])

        assert arrived(store, run, NUMBERS)
