"""The points that are delivered: ten metrics a step, as a spool and as batches for `log_batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import Metric

METRICS: Final = 10
BATCH: Final = 1_000
_FIRST_MS: Final = 1_795_449_203_490


def spool(batches: int) -> bytes:
    """Return the lines of a run."""
    line = '{"t":"track","ts":%d,"step":%d,"values":{%s}}\n'
    return "".join(
        line % ((_FIRST_MS + step) * 1000, step, ",".join(_values(step)))
        for step in range(batches * BATCH // METRICS)
    ).encode()


def metrics(batches: int) -> Iterator[list[Metric]]:
    """Make one batch of MLflow's metrics after the other, when it is asked for."""
    from mlflow.entities import Metric

    steps = BATCH // METRICS
    for first in range(0, batches * steps, steps):
        yield [
            Metric(f"metric_{m}", step / 7 + m, _FIRST_MS + step, step)
            for step in range(first, first + steps)
            for m in range(METRICS)
        ]


def _values(step: int) -> Iterator[str]:
    return (f'"metric_{m}":{step / 7 + m!r}' for m in range(METRICS))
