"""Runs the program of a peer in its environment, and a server where it needs one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.frame.environments import ROOT, Environment, Unavailable
from benchmarks.peers.contenders import Contender, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PATIENCE_SECONDS: Final = 120
STARTING_SECONDS: Final = 180
# So that no peer's arithmetic is spread over threads, and none reaches for the outside.
_SURROUNDINGS: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "WANDB_SILENT": "true"}


class Stage:
    """Everything that contenders need: environments, folders, and one server.

    Attributes:
        environments: By peer; or the reason why there is none.
        server_url: Of the MLflow server.
        server_error: Why there is none.
    """

    def __init__(self, environments: dict[str, Environment | str], folder: Path) -> None:
        self.environments = environments
        self.server_url = ""
        self.server_error = ""
        self._folder = folder

    def run(self, contender: Contender, what: str, **options: float) -> Any:
        """Run the program in a folder of its own, and return its answer.

        Raises:
            Unavailable: It failed; the text is the last line of what it said.
        """
        with self.folder() as folder:
            return self.run_in(folder, contender, what, **options)

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Make a folder that is gone afterwards."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    def run_in(self, folder: Path, contender: Contender, what: str, **options: float) -> Any:
        """Run the program in a given folder; a killed one has said what it said before."""
        environment = self.environments[contender.peer]
        if isinstance(environment, str):
            raise Unavailable(environment)
        if contender.has_server and self.server_error:
            raise Unavailable(self.server_error)
        python = environment.python
        if (contender.peer, what) == ("steplog", "count"):
            python = Path(sys.executable)  # folding needs the daemon, which a task need not have
        arguments = [what, contender.peer, contender.setting, str(folder)]
        arguments += [word for name, one in options.items() for word in (f"--{name}", str(one))]
        command = [str(python), "-m", "benchmarks.peers.program", *arguments]
        return _answer(command, self._variables(contender, folder), folder / "errors")

    def _variables(self, contender: Contender, folder: Path) -> dict[str, str]:
        dropped = (
            "STEPLOG_",
            "RUNNABLE_",
            "MLFLOW_",
            "WANDB_",
            "NEPTUNE_",
            "GOODSEED_",
            "TRACKIO_",
        )
        kept = {name: text for name, text in os.environ.items() if not name.startswith(dropped)}
        kept |= _SURROUNDINGS | {"HOME": str(folder), "PYTHONPATH": str(ROOT)}
        if contender.has_server:
            kept["BENCH_SERVER"] = self.server_url
        return kept


def _answer(command: list[str], variables: dict[str, str], errors: Path) -> Any:
    """Return what a program answers, and see that it, and all that it started, is gone."""
    with errors.open("wb") as file:
        process = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=file, start_new_session=True
        )
    try:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"gave no answer within {PATIENCE_SECONDS} s") from None
    finally:
        _end_session(process)
    if not output.strip():
        said = errors.read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise Unavailable(f"failed: {said[-1][:200]}")
    return json.loads(output)


def _end_session(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def stage(contenders: Iterable[Contender]) -> Iterator[Stage]:
    """Prepare everything for some contenders, and take it away at the end."""
    contenders = list(contenders)
    found = prepare(contender.peer for contender in contenders)
    with tempfile.TemporaryDirectory(prefix="steplog-bench-", ignore_cleanup_errors=True) as name:
        made = Stage(found, Path(name))
        mlflow = found.get("mlflow")
        if not any(one.has_server for one in contenders) or not isinstance(mlflow, Environment):
            yield made
            return
        with contextlib.ExitStack() as stack:
            try:
                made.server_url = stack.enter_context(mlflow_server(mlflow, Path(name))).url
            except Unavailable as error:
                made.server_error = str(error)
            yield made


class Server(NamedTuple):
    """A running server: its URL, and the process that all of its processes descend from."""

    url: str
    process: int


@contextlib.contextmanager
def mlflow_server(
    environment: Environment, folder: Path, store_uri: str = "", packages: Path | None = None
) -> Iterator[Server]:
    """Run `mlflow server` as its documentation starts it, for as long as the block lasts.

    Args:
        environment: Has MLflow.
        folder: Where it works.
        store_uri: The database behind it; "" is SQLite in the folder.
        packages: A folder with what it imports besides.

    Raises:
        Unavailable: It does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = ["--backend-store-uri", store_uri or f"sqlite:///{folder / 'server.db'}"]
    command = ["server", "--host", "127.0.0.1", "--port", str(port), *store]
    variables = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    # Of its jobs nobody here wants any; their seven processes take half a minute to start.
    variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    if packages:
        variables["PYTHONPATH"] = str(packages)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [environment.python, "-m", "mlflow", *command],
            cwd=folder,
            env=os.environ | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", process)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        _end_session(process)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTING_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                raise Unavailable("the MLflow server ended at once") from None
            if time.monotonic() > end:
                raise Unavailable(
                    f"the MLflow server did not start in {STARTING_SECONDS} s"
                ) from None
            time.sleep(0.2)
