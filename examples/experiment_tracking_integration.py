"""Track what MLflow shows as a metric with a plot, and as parameters.

Run it, and send what it tracked to an MLflow of your own, or to that on port 8080:

    python examples/experiment_tracking_integration.py
    steplogd drain --config examples/mlflow.toml
    mlflow ui --backend-store-uri sqlite:///$HOME/.local/state/steplog/mlflow.db

The tag becomes the experiment, the run id the name of the run. Numbers become a metric with its
steps; everything else becomes parameters, named by key and step, such as `spam_0`.
"""

import steplog


def emit_metrics() -> None:
    """Track a number over time, and what is none once."""
    steplog.track_this(spam="hello", eggs={"ham": "world"}, answer=0, is_it_true=False)
    for step in range(1, 4):
        steplog.track_this(step=step, answer=20 * step)


def main() -> None:
    """Be in a run with a tag, which groups it with others."""
    with steplog.start_run(tag="experiment-tracking") as run, run.task("Emit Metrics"):
        emit_metrics()
    print(f"tracked as {run.run_id}")


if __name__ == "__main__":
    main()
