"""A real `mlflow server` on this machine, with SQLite behind it, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.conftest import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Server:
    """A server that can be killed, stopped for a while, and started again at its port.

    Attributes:
        url: Where it is reached.
        folder: Where it keeps everything.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.folder = folder
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait`, it answers on return."""
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        # What our backend set for this process is not how other people's servers are set up.
        plain = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                _server_command(self.folder, self._port),
                cwd=self.folder,
                env=plain | quiet,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its workers can be ended with it
            )
        if wait:
            _wait_until_healthy(self.url)

    def tell(self, number: int) -> None:
        """Send a signal to it and to its workers."""
        assert self._process is not None, "it was never started"
        os.killpg(self._process.pid, number)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it and its workers with a signal, if it goes on; and wait."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.tell(number)
            self._process.wait(DEADLINE_SECONDS)

    def kill(self) -> None:
        """Kill it and its workers."""
        self.end(signal.SIGKILL)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run a server that keeps everything in a folder, for as long as the block lasts."""
    server = Server(folder)
    try:
        server.start()
        yield server.url
    finally:
        server.end()


def _server_command(folder: Path, port: int) -> list[str]:
    store = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    artifacts = ["--artifacts-destination", str(folder / "artifacts")]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *where, *store, *artifacts]


def _wait_until_healthy(url: str) -> None:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    patient = Retry(total=None, connect=400, read=0, backoff_factor=0.1, backoff_max=0.2)
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=patient))
        session.get(f"{url}/health", timeout=10).raise_for_status()
