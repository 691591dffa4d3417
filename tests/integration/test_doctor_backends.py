"""What `steplogd doctor` finds of backends: servers that are well, away, closed, hanging."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions
from tests.daemon import configure, serving, steplogd
from tests.doctor import everything_in, examine
from tests.lines import append, line
from tests.torture.proxy import ANSWERS, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.trackers import MlflowStore

VIEWER: dict[str, Any] = {
    "id": "1",
    "username": "ann",
    "name": "Ann",
    "email": "",
    "flags": "{}",
    "entity": "lab",
}
VIEWER |= {"admin": False, "deletedAt": None, "teams": {"edges": []}, "apiKeys": {"edges": []}}
KEY = "a1b2c3d4" * 5


def mlflow(url: str, more: str = "") -> str:
    return f'[[backend]]\ntype = "mlflow"\nserver_url = "{url}"\n{more}'


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Take connections, and answer none of them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextlib.contextmanager
def answering(status: int, answer: dict[str, Any]) -> Iterator[str]:
    """Answer each POST with this."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_mlflow_server_that_is_well_is_ok(home: Path, mlflow_server: MlflowStore) -> None:
    """Both versions are told."""
    report = examine("--config", configure(home, mlflow(mlflow_server.url)))

    (found,) = [finding for finding in report.findings if finding.check == "backend"]
    assert (report.status, found.state, found.subject) == (0, "ok", "mlflow")
    assert f"{mlflow_server.url} lets us in; MLflow is 3." in found.text


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("401", "MLflow refuses us: set MLFLOW_TRACKING_USERNAME"),
        ("500", "was answered with 500"),
        ("a login page", "Is a proxy or a login page in between?"),
        ("a list", "Is a proxy or a login page in between?"),
    ],
)
def test_mlflow_server_in_trouble_is_wrong(
    home: Path, mlflow_server: MlflowStore, fault: str, why: str
) -> None:
    """Whoever answers in its place, and whatever."""
    assert fault in ANSWERS
    with Proxy(mlflow_server.url) as proxy:
        proxy.choose = lambda request: fault if "/api/" in request.path else None
        report = examine("--config", configure(home, mlflow(proxy.url)))

    (found,) = report.of("backend", "mlflow")
    assert (report.status, found.state) == (1, "wrong")
    assert why in found.text


def test_mlflow_server_that_says_no_version_is_ok(home: Path, mlflow_server: MlflowStore) -> None:
    """It lets us in, which is what counts."""
    with Proxy(mlflow_server.url) as proxy:
        proxy.choose = lambda request: "404 with HTML" if request.path == "/version" else None
        report = examine("--config", configure(home, mlflow(proxy.url)))

    (found,) = [finding for finding in report.findings if finding.check == "backend"]
    assert (found.state, "of a version not told" in found.text) == ("ok", True)


def test_hanging_servers_are_not_waited_for(home: Path) -> None:
    """All of them have that time together; who answers beside them is told."""
    with silent() as url:
        tables = "".join(mlflow(url, f'name = "m{number}"\n') for number in range(3))
        path = configure(home, f'{tables}[[backend]]\ntype = "wandb"\nmode = "offline"')
        before = time.monotonic()
        report = examine("--timeout", "1", "--config", path)
        took_seconds = time.monotonic() - before

    late = [finding.text for finding in report.of("backend")]
    assert [f"m{number}: it did not answer within 1 s" for number in range(3)] == late
    assert report.status == 1
    assert "W&B" in report.findings[-1].text
    assert took_seconds < 60  # MLflow alone would wait for two minutes
    assert not home.exists()


def test_token_file_is_looked_at(
    home: Path, mlflow_server: MlflowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it can be read, by others too; and whether its place is known here."""
    token = tmp_path / "token"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = configure(home, mlflow(mlflow_server.url, f'token_file = "{token}"'))
    absent = examine("--config", path).of("backend")
    token.write_text("secret-token\n")
    token.chmod(0o644)
    opened = examine("--config", path).of("backend")
    place = "${CREDENTIALS_DIRECTORY}/token"
    path = configure(home, mlflow(mlflow_server.url, f'token_file = "{place}"'))
    unknown = examine("--config", path).of("backend")

    assert [found.state for found in (*absent, *opened, *unknown)] == [
        "wrong",
        "warning",
        "warning",
    ]
    assert "No such file or directory" in absent[0].text
    assert opened[0].mend == f"chmod 600 {token}"
    assert "lies where $CREDENTIALS_DIRECTORY says, which the unit alone has" in unknown[0].text


def test_backends_are_asked_as_the_daemon_would(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its unit has variables that this shell has not."""
    path = configure(home, '[[backend]]\ntype = "wandb"')
    program = "from steplogd.__main__ import main; main(['run'])"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("STEPLOG_CONFIG", path)
    with serving(home, program=program):
        monkeypatch.delenv("WANDB_MODE")
        report = examine("--config", path)

    assert (report.of("backend"), "offline" in report.findings[-1].text) == ([], True)


def test_embedded_mlflow_is_looked_at_and_not_made(home: Path) -> None:
    """It is made with the first run; and one that is there stays as it is."""
    path = configure(home, '[[backend]]\ntype = "mlflow"')
    new = examine("--config", path)
    is_made = home.exists()
    append(home, "r", line("track", values={"x": 1}))
    steplogd("drain", "--config", path)
    before = everything_in(home)

    old = examine("--config", path)

    assert [finding.state for report in (new, old) for finding in report.of("backend")] == []
    assert (is_made, old.states("backend")) == (False, ["ok"])
    assert everything_in(home) == before


def test_database_of_another_mlflow_is_wrong(home: Path) -> None:
    """It says how to bring it up to date."""
    append(home, "r", line("track", values={"x": 1}))
    path = configure(home, '[[backend]]\ntype = "mlflow"')
    steplogd("drain", "--config", path)
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        connection.commit()

    (found,) = examine("--config", path).of("backend")

    assert (found.state, "mlflow db upgrade sqlite:///" in found.text) == ("wrong", True)


def test_what_a_backend_is_behind_with_is_told(home: Path) -> None:
    """Since when it fails, and why, as its daemon has noted it."""
    path = configure(home, mlflow("http://127.0.0.1:9"))
    append(home, "r", line("track", values={"x": 1}))
    steplogd("drain", "--timeout", "3", "--config", path)

    (found,) = examine("--config", path).of("delivery")

    assert found.state == "warning"
    assert "mlflow has been failing since 20" in found.text
    assert "still to be sent: 1 observation of 1 run" in found.text


def test_backend_that_the_daemon_does_not_know_is_told(home: Path) -> None:
    """It was added since the daemon started."""
    with serving(home, "--config", configure(home)) as daemon:
        path = configure(home, '[[backend]]\ntype = "memory"')
        (found,) = examine("--config", path).of("delivery")

    assert found.subject == "memory"
    assert f"kill -HUP {daemon.pid}" in found.mend


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, {"data": {"viewer": VIEWER}}, "knows us as ann, of lab"),
        (401, {"errors": [{"message": "unauthorized"}]}, "W&B takes no runs without a key"),
    ],
)
def test_wandb_server_is_asked_who_we_are(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    answer: dict[str, Any],
    said: str,
) -> None:
    """By W&B's own client, which leaves nothing behind, and the key is shown nowhere."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    with answering(status, answer) as url:
        path = configure(home, f'[[backend]]\ntype = "wandb"\nbase_url = "{url}"')
        told = steplogd("doctor", "--timeout", "60", "--config", path)

    assert said in told.stdout
    assert told.returncode == (0 if status == 200 else 1)
    assert KEY not in told.stdout
    assert not home.exists()
    assert not (tmp_path / "user").exists()


def test_wandb_server_that_is_away_is_wrong(home: Path) -> None:
    """W&B itself would say that it takes no key."""
    path = configure(home, '[[backend]]\ntype = "wandb"\nbase_url = "http://127.0.0.1:9"')

    (found,) = examine("--config", path).of("backend")

    assert "no W&B server answers at http://127.0.0.1:9 (Connection refused)" in found.text


def test_backend_that_cannot_be_built_is_78(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the daemon, which would not start."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    path = configure(home, '[[backend]]\ntype = "wandb"')

    report = examine("--config", path)

    assert report.status == 78
    assert "unset it for the daemon" in report.of("backend")[0].text


def test_check_contacts_a_server_and_changes_nothing_there(
    mlflow_server: MlflowStore, tmp_path: Path
) -> None:
    """Reading alone is asked of it."""
    asked = []
    with Proxy(mlflow_server.url) as proxy:
        proxy.choose = lambda request: asked.append((request.method, request.path))
        list(MlflowBackend(MlflowOptions(server_url=proxy.url), tmp_path).check())

    paths = {path.partition("?")[0] for _, path in asked}
    assert paths == {"/api/2.0/mlflow/experiments/search", "/version"}


THEIRS = """
import msgspec, sys
from steplogd.delivery.contract import Limits, Remark

class Theirs:
    package = extra = ""
    class Options(msgspec.Struct): ...
    def __init__(self, options, home):
        {begin}
        self.limits = Limits()
    def open(self, run): ...
    def close(self): ...
    def check(self):
        yield Remark("version 1")
        yield Remark("the disk is slow", "buy another")
        {end}
"""


def install(folder: Path, *, begin: str = "pass", end: str = "pass") -> None:
    """Lay a backend of type `theirs` into a folder, which does this when built, and asked."""
    (folder / "theirs-1.dist-info").mkdir()
    (folder / "theirs-1.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1\n")
    (folder / "theirs-1.dist-info" / "entry_points.txt").write_text(
        "[steplog.backends]\ntheirs = theirs:Theirs\n"
    )
    (folder / "theirs.py").write_text(THEIRS.format(begin=begin, end=end))


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("raise RuntimeError('nobody thought of this')", "RuntimeError: nobody thought of this"),
        ("sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_backend_of_others_is_asked_too(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, why: str
) -> None:
    """Whatever it raises: what it said before counts, and it costs no other."""
    install(tmp_path, end=end)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = configure(home, '[[backend]]\ntype = "theirs"\n[[backend]]\ntype = "memory"')

    report = examine("--config", path)

    found = [(one.state, one.text) for one in report.findings if one.check == "backend"]
    assert report.status == 1
    assert found[:3] == [
        ("ok", "theirs: version 1"),
        ("warning", "theirs: the disk is slow"),
        ("wrong", f"theirs: {why}"),
    ]
    assert report.of("backend")[0].mend == "buy another"
    assert found[3][0] == "skipped"


def test_backend_that_exits_when_built_is_78(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not for a tracker's package to end a daemon that is told to add it."""
    install(tmp_path, begin="sys.exit('no licence')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    report = examine("--config", configure(home, '[[backend]]\ntype = "theirs"'))

    (found,) = report.of("backend")
    assert (report.status, found.text) == (78, "Backend 'theirs' cannot be built: no licence")
