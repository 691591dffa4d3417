"""The MLflow backend where MLflow is broken, silent, slow or gone, and what it leaves behind."""

from __future__ import annotations

import copy
import json
import os
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pytest

from steplogd.config import ConfigError, load_config
from steplogd.delivery.contract import Observation, Refused, RunInfo, Unavailable
from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions, embedded_uri
from steplogd.delivery.mlflow_errors import meaning
from tests.conftest import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.tracking import MlflowClient

    from steplogd.delivery.contract import BackendError

RUN = RunInfo("a-run", "", "PROCESSING", False, "", 1_795_449_203_490_342, None, {})
ONE_METRIC = [Observation(1, ("train",), 1, "loss", 0, RUN.start_ts, 0.5)]

AWKWARD_HOMES = ["a b", "100%", "%41", "a?mode=ro", "a#b", "läuft 💥", "a@b:c", "a\nb", "%2E%2E"]

Answer: TypeAlias = tuple[int, object] | threading.Event | None

EXPERIMENT = {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}
FOUND: dict[str, dict[str, Any]] = {
    "info": {"run_id": "0" * 32, "experiment_id": "0", "lifecycle_stage": "active"},
    "data": {},
}
ANSWERS: dict[str, Answer] = {
    "experiments/get-by-name": (200, {"experiment": EXPERIMENT}),
    "runs/search": (200, {"runs": [FOUND]}),
    "runs/log-batch": (200, {}),
    "runs/update": (200, {"run_info": FOUND["info"]}),
}
"""What a server says that has our run already."""


class Stub(ThreadingHTTPServer):
    """A server that says what a test wants; it keeps the calls that it got, and their sizes.

    An answer of None closes the connection, one that is an event waits for it first. What it takes
    with a 200 it has, as `runs/get` shows.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.run = copy.deepcopy(FOUND)
        self.answers: dict[str, Answer] = {**ANSWERS, "runs/get": (200, {"run": self.run})}
        self.asked: list[str] = []
        self.sizes_bytes: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request of a `Stub`."""

    server: Stub

    def do_GET(self) -> None:
        """Answer as the test said."""
        self.server.sizes_bytes.append(size := int(self.headers.get("Content-Length", 0)))
        asked = self.rfile.read(size)
        call = self.path.partition("?")[0].partition("/mlflow/")[2]
        self.server.asked.append(call)
        answer = self.server.answers[call]
        if isinstance(answer, threading.Event):
            answer.wait(DEADLINE_SECONDS)
            answer = None
        if answer is None:
            self.close_connection = True
            return
        status, content = answer
        if status == 200:
            self._take(call, asked)
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _take(self, call: str, asked: bytes) -> None:
        if call == "runs/log-batch":
            for kind in ("tags", "params"):
                taken = json.loads(asked).get(kind, [])
                self.server.run["data"].setdefault(kind, []).extend(taken)
        if call == "runs/update":
            self.server.run["info"].update(json.loads(asked))

    def do_POST(self) -> None:
        """Answer as the test said."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Serve stub answers while a test runs."""
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def connect(stub: Stub, tmp_path: Path) -> MlflowBackend:
    return MlflowBackend(MlflowOptions(server_url=stub.url), tmp_path)


def embed(tmp_path: Path) -> MlflowBackend:
    return MlflowBackend(MlflowOptions(), tmp_path)


def client_of(tmp_path: Path) -> MlflowClient:
    from mlflow.tracking import MlflowClient

    return MlflowClient(embedded_uri(tmp_path))


def run_python(code: str, home: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own, as a daemon would: not as a test."""
    hidden = {"PYTEST_CURRENT_TEST", "CI", *(name for name in os.environ if "MLFLOW" in name)}
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(home)],
        cwd=cwd,
        env=env | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )


def test_a_server_that_does_not_listen_is_unavailable(stub: Stub, tmp_path: Path) -> None:
    """The reason names the server."""
    stub.server_close()

    with pytest.raises(Unavailable, match=f"127.0.0.1:{stub.server_port}"):
        connect(stub, tmp_path).open(RUN)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_unavailable_and_asked_once(
    stub: Stub, tmp_path: Path, status: int
) -> None:
    """The exporter alone tries again, with its own patience."""
    session = connect(stub, tmp_path).open(RUN)
    stub.answers["runs/log-batch"] = (status, "trouble")

    with pytest.raises(Unavailable, match=str(status)):
        session.send(ONE_METRIC)

    assert stub.asked.count("runs/log-batch") == 1


@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED")])
def test_missing_credentials_are_asked_for(
    stub: Stub, tmp_path: Path, status: int, code: str
) -> None:
    """They may be set any time, so nothing is given up."""
    stub.answers["experiments/get-by-name"] = (status, {"error_code": code, "message": "no"})

    with pytest.raises(Unavailable, match="set MLFLOW_TRACKING_USERNAME"):
        connect(stub, tmp_path).open(RUN)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "no such thing"}),
        (400, {"error_code": "BAD_REQUEST", "message": "(psycopg.errors.DataError) no"}),
        (413, "<html>Request Entity Too Large</html>"),
    ],
)
def test_what_a_server_will_never_take_is_refused(
    stub: Stub, tmp_path: Path, status: int, body: object
) -> None:
    """A batch that is too large for a proxy too: its halves may pass."""
    session = connect(stub, tmp_path).open(RUN)
    stub.answers["runs/log-batch"] = (status, body)

    with pytest.raises(Refused, match="take the values"):
        session.send(ONE_METRIC)


def test_a_server_that_hangs_is_unavailable_after_a_while(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own variable says how long that is."""
    backend = connect(stub, tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    stub.answers["experiments/get-by-name"] = release = threading.Event()

    with pytest.raises(Unavailable, match="timeout"):
        backend.open(RUN)
    release.set()


def test_a_lost_answer_does_not_make_a_second_run(stub: Stub, tmp_path: Path) -> None:
    """The call that makes a run is never repeated before it was looked for again."""
    backend = connect(stub, tmp_path)
    stub.answers["runs/search"] = (200, {})
    stub.answers["runs/create"] = None
    with pytest.raises(Unavailable):
        backend.open(RUN)
    stub.answers["runs/search"] = ANSWERS["runs/search"]

    backend.open(RUN).send(ONE_METRIC)

    assert stub.asked.count("runs/create") == 1


def test_the_end_of_a_run_is_not_printed(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow would print where to look at it, into whatever reads the daemon's output."""
    ended = msgspec.structs.replace(RUN, status="SUCCESS", end_ts=RUN.start_ts + 1)

    connect(stub, tmp_path).open(RUN).settle(ended)

    assert "runs/update" in stub.asked
    assert capsys.readouterr().out == ""


def test_no_call_is_larger_than_a_proxy_takes(stub: Stub, tmp_path: Path) -> None:
    """A hundred long texts, each character of which takes twelve bytes on the way."""
    batch = [Observation(i, ("t",), 1, "text", i, RUN.start_ts, "💥" * 6000) for i in range(1, 101)]

    connect(stub, tmp_path).open(RUN).send(batch)

    assert 500_000 < max(stub.sizes_bytes) < 1_000_000


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("TEMPORARILY_UNAVAILABLE", Unavailable),
        ("REQUEST_LIMIT_EXCEEDED", Unavailable),
        ("INTERNAL_ERROR", Unavailable),
        ("BAD_REQUEST", Unavailable),
        ("ENDPOINT_NOT_FOUND", Unavailable),
        ("INVALID_PARAMETER_VALUE", Refused),
    ],
)
def test_errors_are_sorted_by_what_the_exporter_does_next(
    code: str, expected: type[BackendError]
) -> None:
    """In doubt a batch is sent again, because that loses nothing."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    error = MlflowException("first line\nsecond line", ErrorCode.Value(code))

    assert type(meaning(error, "do it")) is expected
    assert str(meaning(error, "do it")) == "MLflow could not do it: first line"


@pytest.mark.parametrize("error", [ImportError("No module named 'boto3'"), PermissionError("no")])
def test_an_artifact_store_out_of_reach_costs_one_value(error: Exception) -> None:
    """It would hold up the whole run otherwise."""
    assert type(meaning(error, "take the values")) is Refused


@pytest.mark.parametrize("url", ["mlruns", "nonsense", "file:mlruns", "htp://x"])
def test_a_url_that_is_none_is_refused_before_mlflow_is_imported(url: str) -> None:
    """The options refuse it themselves."""
    with pytest.raises(ValueError, match="is no MLflow tracking URI"):
        MlflowOptions(server_url=url)


@pytest.mark.parametrize("url", ["", "http://h:1", "sqlite:///a.db", "databricks", "file:///a"])
def test_a_tracking_uri_of_any_kind_is_taken(url: str) -> None:
    """It is MLflow that knows them all."""
    assert url == MlflowOptions(server_url=url).server_url


def test_a_configuration_with_such_a_url_is_told_in_one_sentence(tmp_path: Path) -> None:
    """What `steplogd check` prints: where it stands, what is wrong, and what would be right."""
    file = tmp_path / "steplogd.toml"
    file.write_text('[[backend]]\ntype = "mlflow"\nserver_url = "mlruns"\n')

    with pytest.raises(ConfigError) as told:
        load_config(file)

    assert str(told.value) == (
        f"{file}: backend 1: server_url = 'mlruns' is no MLflow tracking URI: name a server "
        "(http://…) or a database (sqlite:///…), or leave it out."
    )


@pytest.mark.parametrize("name", AWKWARD_HOMES)
def test_the_embedded_store_is_in_the_home_whatever_its_name(name: str, tmp_path: Path) -> None:
    """Database and artifacts, and nothing beside it: some of these mean something in a URI."""
    home = tmp_path / name
    home.mkdir()
    long_text = msgspec.structs.replace(ONE_METRIC[0], key="text", value="x" * 7000)

    embed(home).open(RUN).send([*ONE_METRIC, long_text])

    client = client_of(home)
    (run,) = client.search_runs(["0"])
    assert [home] == list(tmp_path.iterdir())
    assert {"mlflow.db", "mlartifacts"} == {path.name for path in home.iterdir()}
    assert Path(client.download_artifacts(run.info.run_id, "steplog/values/text_0.json")).exists()


def test_the_uri_of_a_plain_home_reads_like_its_path(tmp_path: Path) -> None:
    """Somebody will copy it from the README, or type it."""
    assert f"sqlite:///{tmp_path}/mlflow.db" == embedded_uri(tmp_path)


def test_a_home_that_no_uri_can_name_is_refused(tmp_path: Path) -> None:
    """Better than a database elsewhere."""
    with pytest.raises(ValueError, match="no URI can name a database"):
        embed(tmp_path / "\udcff")


def test_building_the_backend_contacts_nobody(tmp_path: Path) -> None:
    """Not even the database under the home is made."""
    embed(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_broken_database_is_unavailable(tmp_path: Path) -> None:
    """Somebody may repair it, and all of it arrives."""
    session = embed(tmp_path).open(RUN)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("ALTER TABLE metrics RENAME TO elsewhere")
    database.close()

    with pytest.raises(Unavailable, match="no such table"):
        session.send(ONE_METRIC)


def test_a_run_that_mlflow_lost_is_made_again(tmp_path: Path) -> None:
    """With what follows; the error says how the rest comes back."""
    backend = embed(tmp_path)
    session = backend.open(RUN)
    session.send(ONE_METRIC)
    client = client_of(tmp_path)
    (lost,) = client.search_runs(["0"])
    client._tracking_client.store._hard_delete_run(lost.info.run_id)

    with pytest.raises(Unavailable, match="steplogd replay"):
        session.send(ONE_METRIC)
    session.send(ONE_METRIC)

    (again,) = client.search_runs(["0"])
    assert again.info.run_id != lost.info.run_id
    assert again.data.metrics == {"loss": 0.5}


def test_the_daemon_stays_quiet_and_keeps_to_its_home(tmp_path: Path) -> None:
    """No word on its output, no thread, no file where it was started, artifacts under the home."""
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    code = """
import pathlib, sys, threading
from steplogd.delivery.contract import Observation, RunInfo
from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions
assert "mlflow" not in sys.modules
backend = MlflowBackend(MlflowOptions(), pathlib.Path(sys.argv[1]))
run = RunInfo("a-run", "a tag", "SUCCESS", False, "", 1, 2_000_000, {"lr": 0.1})
for run in (run, RunInfo("another", "", "FAIL", True, "", 1, 2_000_000, {})):
    session = backend.open(run)
    session.send([Observation(1, ("t",), 1, "text", 0, 1, "x" * 7000)])
    session.settle(run)
import mlflow.telemetry
assert mlflow.telemetry.get_telemetry_client() is None
assert threading.enumerate() == [threading.main_thread()]
"""

    done = run_python(code, home, cwd)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(cwd.iterdir()) == []
    assert len(list(home.glob("mlartifacts/**/text_0.json"))) == 2
