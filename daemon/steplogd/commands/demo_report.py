"""What the demo shows at its end: the run log, a plot of the loss, and what MLflow says it has."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.table import Table

from steplog.cli.terminal import sanitise
from steplog.run_log import read_run_log

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

_PLOT_WIDTH = 64
_PLOT_HEIGHT = 12


def show(console: Console, home: Path, run_id: str) -> int:
    """Print the report; returns 0 when MLflow has as many points as the run log, 1 otherwise."""
    run_log = read_run_log(home, run_id)
    metrics = {
        key: by_step
        for step in run_log["steps"].values()
        for key, by_step in step["user_defined_metrics"].items()
    }
    _show_run_log(console, run_log)
    _plot(console, metrics["loss"])
    return _show_mlflow(console, home, run_id, metrics)


def _show_run_log(console: Console, run_log: dict[str, Any]) -> None:
    title = f"The run log of {run_log['run_id']}"
    table = Table("task", "status", "duration", "tracked", title=title)
    for name, step in run_log["steps"].items():
        attempt = step["attempts"][-1]
        tracked = ", ".join(step["user_defined_metrics"])
        table.add_row(name, step["status"], attempt["duration"], tracked)
    console.print(table)


def _plot(console: Console, loss: dict[str, float]) -> None:
    import uniplot

    plot = uniplot.plot_to_string(
        xs=[int(step) for step in loss],
        ys=list(loss.values()),
        title="loss, by step",
        width=_PLOT_WIDTH,
        height=_PLOT_HEIGHT,
        lines=True,
        color=False,
    )
    console.print(plot, markup=False)


def _show_mlflow(console: Console, home: Path, run_id: str, metrics: dict[str, Any]) -> int:
    """Read the run back through MLflow's own client, and compare the number of points."""
    from mlflow import MlflowClient

    from steplogd.delivery.mlflow import embedded_uri

    uri = embedded_uri(home)
    client = MlflowClient(tracking_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.`steplog.run_id` = '{run_id}'")
    title = f"Read back from MLflow: {run.info.status}"
    table = Table("metric", "points", "last value", title=title)
    differs = False
    for key, last in sorted(run.data.metrics.items()):
        points = client.get_metric_history(run.info.run_id, key)
        tracked = metrics[key]
        differs |= len(points) != (len(tracked) if isinstance(tracked, dict) else 1)
        table.add_row(key, f"{len(points):,}", f"{last:.4f}")
    console.print(table)
    for key, value in sorted(run.data.params.items()):
        console.print(sanitise(f"  {key} = {value}"), markup=False, soft_wrap=True)
    console.print("\nLook at it in MLflow's own page:\n", markup=False)
    command = f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    console.print(f"  {sanitise(command)}", markup=False, soft_wrap=True)
    if differs:
        console.print("MLflow has another number of points than the run log.", style="bold red")
    return int(differs)
