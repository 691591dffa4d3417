"""`steplogd demo`: a real training, tracked, folded, and in MLflow, in one go."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from steplog.errors import SteplogError
from steplog.home import default_home, make_folder
from steplog.names import check_run_id, propose_run_id
from steplogd.config import ConfigError, load_config
from steplogd.holder import hold
from steplogd.logs.log import set_up_log
from steplogd.service import Service

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.config import Config

METRICS_PER_STEP: Final = 4
_REFRESH_SECONDS: Final = 0.1
_DRAIN_SECONDS: Final = 120.0
_PACKAGES: Final = ("sklearn", "mlflow", "uniplot")
_CONFIG: Final = """\
home = "{home}"
grace_seconds = 0.5

[[backend]]
type = "mlflow"
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="a real training, tracked, folded, and in MLflow, in one go",
        description="Train a small network, and show what was tracked, folded, and in MLflow.",
        epilog="example: steplogd demo --steps 400",
    )
    parser.add_argument("--steps", type=_steps, default=400, help="how many training steps (400)")
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, serve, and show what arrived; returns 0 when all of it did."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the demo needs {', '.join(missing)}: pip install 'steplog[demo]'")
    home = default_home() / "demo"
    config = _configured(home)
    console = Console(highlight=False)
    run_id = check_run_id(propose_run_id() + "-" + os.urandom(2).hex())
    with hold(home):
        status = anyio.run(_train_and_serve, config, run_id, arguments.steps, console)
    if status:
        return status
    from steplogd.commands import demo_report

    return demo_report.show(console, home, run_id)


def _configured(home: Path) -> Config:
    make_folder(home.parent)
    make_folder(home)
    path = home / "steplogd.toml"
    path.write_text(_CONFIG.format(home=home), encoding="utf-8")
    return load_config(path)


async def _train_and_serve(config: Config, run_id: str, steps: int, console: Console) -> int:
    """Serve a home while a process of its own trains in it; wait until all is delivered."""
    set_up_log(logging.WARNING)  # a bar shows the rest
    console.print(f"Training on handwritten digits, in a process of its own: run {run_id}")
    command = [sys.executable, "-m", "steplogd.digits", "--steps", str(steps), "--run-id", run_id]
    environment = {**os.environ, "STEPLOG_HOME": str(config.home)}
    async with (
        Service(config).started() as service,
        await anyio.open_process(command, env=environment, stdout=None, stderr=None) as training,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_show_progress, console, service, config.home, run_id, steps)
        status = await training.wait()
        with anyio.fail_after(_DRAIN_SECONDS):
            await service.drained()
        await anyio.sleep(2 * _REFRESH_SECONDS)  # for the eye: the bars reach their end
        tasks.cancel_scope.cancel()
    return status


async def _show_progress(
    console: Console, service: Service, home: Path, run_id: str, steps: int
) -> None:
    """Draw one bar for the run log and one for MLflow, as both grow."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        total = steps * METRICS_PER_STEP + 4
        folded = progress.add_task("in the run log", total=total)
        sent = progress.add_task("in MLflow", total=total)
        while True:
            count = await to_thread.run_sync(_observations, home, run_id)
            behind = sum(backlog.observations for backlog in (await service.remaining()).backends)
            progress.update(folded, completed=count)
            progress.update(sent, completed=max(0, count - behind))
            await anyio.sleep(_REFRESH_SECONDS)


def _observations(home: Path, run_id: str) -> int:
    from steplog.run_list import Selection, list_runs

    try:
        runs = list_runs(home, Selection(tag="digits"))
    except SteplogError:
        return 0
    return next((run.observations for run in runs if run.run_id == run_id), 0)


def _steps(text: str) -> int:
    steps = int(text)
    if not 1 <= steps <= 1_000_000:
        raise argparse.ArgumentTypeError("take from 1 to 1,000,000 steps")
    return steps
