"""The tracker's own client inside a task, with a real daemon and a real MLflow."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

import steplog
from steplog.client import client_context
from tests.conftest import run_program, wait_until
from tests.daemon import configure, document, rows, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlflow.entities import Run

EMBEDDED = '[[backend]]\ntype = "mlflow"\n'

OWN_CLIENT = """
    import json, threading
    import mlflow
    import steplog

    def log(name, at):
        with steplog.get_experiment_tracker_context(timeout_seconds=100) as run:
            mlflow.log_metric(name, 1.0)
            at.wait()
            mlflow.log_text("of " + name, name + ".txt")
            seen.append([run.info.run_id, mlflow.active_run().info.run_id])

    seen, before = [], mlflow.get_tracking_uri()
    with steplog.start_run("r", tag="t"), steplog.task("train"):
        steplog.track_this(step=3, loss=0.5)
        at = threading.Barrier(2)
        threads = [threading.Thread(target=log, args=(name, at)) for name in ("a", "b")]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        with steplog.get_experiment_tracker_context(timeout_seconds=100) as run:
            with mlflow.start_run(nested=True): mlflow.log_metric("below", 2.0)
            seen.append([run.info.run_id, mlflow.active_run().info.run_id])
            here = mlflow.MlflowClient(mlflow.get_tracking_uri())
        status = here.get_run(run.info.run_id).info.status
    print(json.dumps({"seen": seen, "status": status, "active": mlflow.active_run(),
                      "is_uri_back": mlflow.get_tracking_uri() == before}))
"""


def mlflow_run(home: Path, run_id: str = "r") -> Run:
    """Return what the embedded MLflow has of a run."""
    from mlflow import MlflowClient

    from steplogd.delivery.mlflow import embedded_uri

    client = MlflowClient(embedded_uri(home))
    places = [experiment.experiment_id for experiment in client.search_experiments()]
    (found,) = client.search_runs(places, f"tags.`steplog.run_id` = '{run_id}'")
    return found


def test_what_the_own_client_logs_lands_in_the_run_that_the_daemon_feeds(home: Path) -> None:
    """From two threads at once and around a run below; the run's end stays the daemon's to say."""
    with serving(home, "--config", configure(home, EMBEDDED)):
        done = run_program(OWN_CLIENT)
        wait_until(lambda: (home / "runs" / "r.json").exists())
        wait_until(lambda: mlflow_run(home).info.status == "FINISHED")

    run, told = mlflow_run(home), json.loads(done.stdout)
    assert told["seen"] == [[run.info.run_id, run.info.run_id]] * 3
    assert told | {"seen": ()} == {
        "seen": (),
        "status": "RUNNING",
        "active": None,
        "is_uri_back": True,
    }
    assert run.data.metrics == {"loss": 0.5, "a": 1.0, "b": 1.0}
    (ended,) = rows(home, "SELECT end_ts / 1000 FROM run")
    assert (run.info.end_time,) == ended


def test_an_exception_in_the_block_passes_through(home: Path) -> None:
    """And fails the task as it does without a context."""
    program = """
        import steplog
        context = steplog.get_experiment_tracker_context(timeout_seconds=100)
        with steplog.start_run("r"), context as run:
            assert run is not None
            raise ValueError("no data")
    """
    with serving(home, "--config", configure(home, EMBEDDED)):
        done = run_program(program)
        wait_until(lambda: (home / "runs" / "r.json").exists())
        wait_until(lambda: mlflow_run(home).info.status == "FAILED")

    assert done.stderr.endswith("ValueError: no data\n")
    assert document(home, "r")["status"] == "FAIL"


def test_the_programs_own_experiment_is_set_back(home: Path) -> None:
    """What it logs to its own MLflow, after the block, lands where it always did."""
    program = """
        import mlflow, steplog
        mlflow.set_tracking_uri("sqlite:///own.db")
        mine = mlflow.set_experiment("mine")
        context = steplog.get_experiment_tracker_context(timeout_seconds=100)
        with steplog.start_run("r"), context as run:
            assert run.info.run_id == mlflow.active_run().info.run_id
        with mlflow.start_run() as own: print(own.info.experiment_id == mine.experiment_id)
    """
    with serving(home, "--config", configure(home, EMBEDDED)):
        done = run_program(program)

    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_a_block_that_outlives_the_run_leaves_its_end_alone(home: Path) -> None:
    """The daemon has said it, and says it once."""
    program = """
        import sys, time, mlflow, steplog
        run = steplog.start_run("r")
        block = steplog.get_experiment_tracker_context(timeout_seconds=100)
        with block as active:
            run.end()
            client = mlflow.MlflowClient()
            deadline = time.monotonic() + 100
            while (info := client.get_run(active.info.run_id).info).status != "FINISHED":
                assert time.monotonic() < deadline
            print(info.end_time)
        after = client.get_run(active.info.run_id).info
        print(after.end_time, after.status)
    """
    with serving(home, "--config", configure(home, EMBEDDED)):
        done = run_program(program)

    before, after, status = done.stdout.split()
    assert (before, "FINISHED") == (after, status)


def test_a_server_that_answers_nothing_but_its_health_is_not_waited_for() -> None:
    """MLflow's own client would ask it for minutes."""
    from steplogd.delivery.mlflow_client import client_context as mlflow_context

    with sick_server() as uri:
        began = time.monotonic()
        with (
            pytest.raises(Exception, match="503"),
            mlflow_context({"tracking_uri": uri, "run_id": "0" * 32, "experiment_id": "0"}),
        ):
            pass
    assert time.monotonic() - began < 30


@contextlib.contextmanager
def sick_server() -> Iterator[str]:
    """Serve what says that it is healthy, and 503 to everything else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200 if self.path == "/health" else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def given(caplog: pytest.LogCaptureFixture, **asked: Any) -> tuple[Any, str]:
    """Return what a block is given, and what the log says."""
    with (
        caplog.at_level(logging.WARNING, "steplog"),
        steplog.start_run("r"),
        steplog.get_experiment_tracker_context(**asked) as tracker,
    ):
        return tracker, caplog.text


def test_without_a_daemon_nothing_is_given(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At once, and without a word: nobody asked for a tracker."""
    assert home.parent.exists()
    assert given(caplog, timeout_seconds=3600) == (None, "")


def test_without_a_backend_nothing_is_given(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At once, though a daemon serves."""
    with serving(home, "--config", configure(home)):
        assert given(caplog, timeout_seconds=3600) == (None, "")


def test_a_tracker_that_is_down_is_waited_for_in_bounds(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Then nothing is given, and the log says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with serving(home, "--config", configure(home, f'{EMBEDDED}server_url = "{url}"\n')):
            began = time.monotonic()
            tracker, said = given(caplog, timeout_seconds=0.5)

    assert tracker is None
    assert "mlflow knows no run r after 0.5 seconds" in said
    assert time.monotonic() - began < 30


def test_a_backend_that_is_not_there_is_named(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With those that are."""
    with serving(home, "--config", configure(home, EMBEDDED)):
        tracker, said = given(caplog, backend="mlfow")

    assert tracker is None
    assert "the daemon delivers to no backend 'mlfow'; it knows mlflow" in said


def test_a_server_that_has_gone_since_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """MLflow's own client would take four minutes to say so."""
    from steplogd.delivery.mlflow_client import Unreachable
    from steplogd.delivery.mlflow_client import client_context as mlflow_context

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"

        with (
            pytest.raises(Unreachable, match="does not answer"),
            mlflow_context({"tracking_uri": uri, "run_id": "x", "experiment_id": "0"}),
        ):
            pass


def test_a_client_that_fails_at_its_end_costs_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The block's work is done; the log says what went wrong."""

    class Failing:
        def __enter__(self) -> str:
            return "tracker"

        def __exit__(self, *_: object) -> None:
            raise RuntimeError("tracker is gone")

    found: Any = (lambda _address: Failing(), {})
    monkeypatch.setattr("steplog.client._find", lambda *_: found)
    assert home

    with steplog.start_run("r"), client_context(None, 1.0) as tracker:
        pass

    assert tracker == "tracker"
    assert "RuntimeError: tracker is gone" in caplog.text


@pytest.mark.parametrize(
    ("uri", "plain"),
    [
        ("http://user:secret@host:8080/path", "http://host:8080/path"),
        ("postgresql://u:s%40cret@db/mlflow", "postgresql://db/mlflow"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_no_credential_is_left_in_a_counterpart(uri: str, plain: str) -> None:
    """It stands in the store, for every task of this home to read."""
    from steplogd.delivery.secrets import without_credentials

    assert plain == without_credentials(uri)
