"""Takes the README's picture of a metric in MLflow's own page.

It runs the seed's example against a real MLflow server and a real daemon, on this machine alone:

    apt-get install chromium && pip install 'steplog[mlflow]' playwright
    python docs/screenshot.py docs/mlflow-metric.png
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parent.parent / "examples" / "experiment_tracking_integration.py"
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
WIDTH, HEIGHT = 1000, 620
DEADLINE_SECONDS = 60


def main() -> None:
    """Run the example, and save the picture where the command line says."""
    (target,) = sys.argv[1:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), url):
        deliver(Path(folder), url)
        take(url, Path(target))


@contextlib.contextmanager
def serving(folder: Path, url: str) -> Iterator[None]:
    """Run an MLflow server with SQLite behind it for as long as the block lasts."""
    store = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    store += ["--artifacts-destination", str(folder / "artifacts")]
    where = ["--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", *where, *store]
    with subprocess.Popen(command, env=os.environ | quiet, cwd=folder) as server:
        try:
            wait_for(f"{url}/health")
            yield
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    """Wait until a page answers."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):  # noqa: S310
            return
        if time.monotonic() > deadline:
            sys.exit(f"{url} does not answer")
        time.sleep(0.1)


def deliver(folder: Path, url: str) -> None:
    """Run the example, and have the daemon take it to the server."""
    config = folder / "steplogd.toml"
    config.write_text(f'[[backend]]\ntype = "mlflow"\nserver_url = "{url}"\n', encoding="utf-8")
    names = {"STEPLOG_HOME": str(folder / "home"), "STEPLOG_RUN_ID": "blazing-colden-0544"}
    environment = os.environ | names
    subprocess.run([sys.executable, str(EXAMPLE)], env=environment, check=True)
    drain = [sys.executable, "-m", "steplogd", "drain", "--config", str(config)]
    subprocess.run(drain, env=environment, check=True)


def take(url: str, target: Path) -> None:
    """Open the run's page of metrics, wait until the curve is drawn, and save the picture."""
    from mlflow import MlflowClient

    client = MlflowClient(url)
    experiment = client.get_experiment_by_name("experiment-tracking")
    if experiment is None:
        sys.exit("the run did not arrive")
    (run,) = client.search_runs([experiment.experiment_id])
    place = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(f"{url}/#/{place}")
        page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
        page.wait_for_selector(".scatterlayer .point")
        page.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
