"""Credentials of a tracker are in nothing that steplog writes, whatever the tracker answers."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.conftest import run_program, wait_until
from tests.daemon import configure, rows, serving, steplogd
from tests.repositories import git, make_repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.trackers import MlflowStore

SECRETS = {
    "MLFLOW_TRACKING_USERNAME": "u5er-of-mlflow",
    "MLFLOW_TRACKING_PASSWORD": "p4ss/w@rd-of-mlflow",
    "MLFLOW_TRACKING_TOKEN": "t0ken-of-mlflow",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
}
URL_USER, URL_PASSWORD = "ur1-user", "ur1-p4ss"
GIT_TOKEN = "ghp-t0ken-of-git"
COMMAND_SECRETS = ("c0mmand-password", "c0mmand-token", "c0mmand-key")
USER = SECRETS["MLFLOW_TRACKING_USERNAME"]
ALL = [*(set(SECRETS.values()) - {USER}), URL_PASSWORD, GIT_TOKEN, *COMMAND_SECRETS]
"""What nobody may see; a user's name is none, as it may be a word in anything."""

BASIC = [
    base64.b64encode(f"{user}:{password}".encode()).decode()
    for user, password in (
        (USER, SECRETS["MLFLOW_TRACKING_PASSWORD"]),
        (URL_USER, URL_PASSWORD),
    )
]
SPELLINGS = {*ALL, *BASIC, *(quote(secret, safe="") for secret in ALL), f"{URL_USER}:"}
QUOTED = " ".join([*SECRETS.values(), URL_USER, URL_PASSWORD, *BASIC])
"""What a tracker may know and quote: not what others were told."""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with an error that quotes all that it was sent, and what it might know besides."""

    def answer(self) -> None:
        """Answer a request of any method."""
        said = f"{self.headers.get('Authorization')} {self.path} {QUOTED}"
        body = json.dumps({"error_code": "INTERNAL_ERROR", "message": said}).encode()
        self.send_response(int(getattr(self.server, "status", 500)))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def place(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put credentials wherever a user may have some; the repository that runs are started in."""
    repository = make_repository(home.parent / "repository")
    remote = f"https://x-access-token:{GIT_TOKEN}@git.example.org/x.git?private_token={GIT_TOKEN}"
    git(repository, "remote", "add", "origin", remote)
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.chdir(repository)
    return repository


@pytest.fixture(params=[401, 403, 500, "refused"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a tracker that takes nothing, with credentials in its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.status = request.param  # type: ignore[attr-defined]
    url = f"http://{URL_USER}:{URL_PASSWORD}@127.0.0.1:{server.server_port}"
    if request.param == "refused":
        server.server_close()
        yield url
        return
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def train() -> None:
    """Track a run, from a command whose arguments hold what is plainly secret."""
    words = [
        f"--password={COMMAND_SECRETS[0]}",
        *("--api-token", COMMAND_SECRETS[1]),
        f"SOME_API_KEY={COMMAND_SECRETS[2]}",
        f"http://{URL_USER}:{URL_PASSWORD}@127.0.0.1/",
    ]
    code = """
        import steplog
        with steplog.start_run("r", tag="t", parameters={"lr": 0.1}):
            steplog.track_this(step=1, loss=0.5, note="x" * 7000)
    """
    assert run_program(code, *words).returncode == 0


def leaks(home: Path, *said: str) -> list[str]:
    """Return where a secret stands: in a file below the home or the daemon's log, or in a text."""
    files = [path for path in home.rglob("*") if path.is_file()]
    files.append(home.parent / f"{home.name}.log")
    texts = [(str(path), path.read_bytes()) for path in files]
    texts += [("said", text.encode()) for text in said]
    return [
        f"{where}: {secret}"
        for where, text in texts
        for secret in SPELLINGS
        if secret.encode() in text
    ]


def titles(pid: int) -> str:
    """Return the command lines of a process and all that it started."""
    found = ""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += "".join(titles(int(child)) for child in task.read_text().split())
    return found + Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def ask(config: str) -> list[str]:
    """Return what the commands say of it all."""
    said = [steplogd(command, "--config", config) for command in ("status", "verify")]
    assert not any("Traceback" in one.stderr for one in said)
    return [one.stdout + one.stderr for one in said]


def test_tracker_that_takes_nothing_is_told_of_without_credentials(
    home: Path, place: Path, url: str
) -> None:
    """Whether it quotes them, or is not even there."""
    config = configure(home, f'[[backend]]\ntype = "mlflow"\nserver_url = "{url}"\n')
    with serving(home, "--config", config) as daemon:
        train()
        wait_until(lambda: rows(home, "SELECT 1 FROM backend WHERE error != ''") == [(1,)])
        told = titles(daemon.pid)
        said = ask(config)

    assert rows(home, "SELECT count(*) FROM run") == [(1,)]
    assert leaks(home, told, *said) == []


def test_tracker_that_takes_all_is_fed_without_a_trace_of_credentials(
    home: Path, place: Path, mlflow_server: MlflowStore
) -> None:
    """In the store, the run log, W&B's files and the child processes either."""
    url = mlflow_server.url.replace("http://", f"http://{URL_USER}:{URL_PASSWORD}@")
    wandb = '[[backend]]\ntype = "wandb"\nmode = "offline"\n'
    config = configure(home, f'[[backend]]\ntype = "mlflow"\nserver_url = "{url}"\n{wandb}')
    with serving(home, "--config", config) as daemon:
        train()
        wait_until(lambda: rows(home, "SELECT count(*) FROM counterpart") == [(2,)])
        drained = steplogd("drain", "--timeout", "20", "--config", config)
        told = titles(daemon.pid)
        said = ask(config)

    assert drained.returncode == 0, drained.stderr
    assert "wandb" in told
    assert (home / "runs" / "r.json").exists()
    assert leaks(home, told, *said) == []


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://{URL_USER}:{URL_PASSWORD}@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?user=x&password={URL_PASSWORD}",
        f"nonsense://{URL_USER}:{URL_PASSWORD}@127.0.0.1",
        f"http://127.0.0.1:1/?api_token={URL_PASSWORD}",
    ],
)
def test_wrong_configuration_is_told_of_without_credentials(
    home: Path, place: Path, uri: str
) -> None:
    """Whatever is wrong with it."""
    config = configure(home, f'[[backend]]\ntype = "mlflow"\nserver_url = "{uri}"\n')
    commands = (["check"], ["drain", "--timeout", "2"])
    said = [steplogd(*words, "--config", config) for words in commands]

    assert not any("Traceback" in one.stderr for one in said)
    (home.parent / f"{home.name}.log").write_bytes(b"")
    assert leaks(home, *(one.stdout + one.stderr for one in said)) == []
