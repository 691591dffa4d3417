"""Track values over time within a task, by the step that they belong to.

Run it, fold what it tracked, and look at it:

    python examples/experiment_tracking_step.py
    steplogd drain
    steplog show RUN --json

What was tracked at step 0 alone stands flat in the run log, the rest by its steps.
"""

from pydantic import BaseModel

import steplog


class Eggs(BaseModel):
    """A pydantic model is tracked as a dict."""

    ham: str


@steplog.task("Emit Metrics")
def emit_metrics() -> None:
    """Track at two steps; without one it is step 0."""
    steplog.track_this(spam="hello", eggs=Eggs(ham="world"))
    steplog.track_this(step=1, spam="hey", eggs=Eggs(ham="universe"))
    steplog.track_this(answer=42.0, is_it_true=False)


def main() -> None:
    """Be in a run for as long as the task takes."""
    with steplog.start_run() as run:
        emit_metrics()
    print(f"tracked as {run.run_id}")


if __name__ == "__main__":
    main()
