"""The Python tasks of the pipeline: plain functions that track, and do not know of any pipeline."""

import steplog


def prepare() -> list[int]:
    """Return the chunks that the map goes through."""
    chunks = [1, 2]
    steplog.track_this(chunks=len(chunks))
    return chunks


def train() -> None:
    """Track a loss that goes down."""
    for step in range(3):
        steplog.track_this(step=step, loss=1 / (step + 1))


def fit_small() -> None:
    """Track the same key as the other branch does."""
    steplog.track_this(size=1)


def fit_large() -> None:
    """Track the same key as the other branch does."""
    steplog.track_this(size=100)


def process(chunk: int) -> None:
    """Track the same key for each chunk."""
    steplog.track_this(rows=1000 * chunk)
