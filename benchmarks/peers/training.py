"""A small network that is trained in NumPy, with a tracker and without, in turns."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING, Final

from benchmarks.frame import processes
from benchmarks.peers.emitting import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.peers.values import Tracker

# How long a step takes, and how much longer than the others it is measured: the limit is at 1 ms.
MILLISECONDS: Final = {0.1: 1, 1.0: 2, 10.0: 1}
INPUTS: Final = 64
HIDDEN: Final = 64
CLASSES: Final = 10
RATE: Final = 0.05
WARM_UP: Final = 30
# A pair of blocks is meant to take so long: shorter than what makes a machine slower and faster.
BLOCK_SECONDS: Final = 0.04
# Or, with a tracker that is much slower than that, so long.
LONGEST_SECONDS: Final = 0.2
LEAST_PAIRS: Final = 4


class Network:
    """Two layers, trained by gradient descent on a batch that is drawn once.

    Args:
        batch: How many examples it has: so long takes a step.
    """

    def __init__(self, batch: int) -> None:
        import numpy

        self._numpy = numpy
        random = numpy.random.default_rng(7)
        self._inputs = random.standard_normal((batch, INPUTS))
        self._wanted = numpy.eye(CLASSES)[random.integers(0, CLASSES, batch)]
        self._first = random.standard_normal((INPUTS, HIDDEN)) * 0.1
        self._second = random.standard_normal((HIDDEN, CLASSES)) * 0.1

    def step(self) -> float:
        """Go one step down, and return the loss."""
        numpy = self._numpy
        hidden = numpy.tanh(self._inputs @ self._first)
        scores = hidden @ self._second
        scores -= scores.max(axis=1, keepdims=True)
        chances = numpy.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        loss = -(self._wanted * numpy.log(chances + 1e-12)).sum() / len(chances)
        slope = (chances - self._wanted) / len(chances)
        back = (slope @ self._second.T) * (1 - hidden * hidden)
        self._second -= RATE * (hidden.T @ slope)
        self._first -= RATE * (self._inputs.T @ back)
        return float(loss)


def train(peer: str, setting: str, folder: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Train with the tracker and without, block by block, in turns; by milliseconds of a step.

    A call tracks one value at each step. What the tracker's threads and processes still do after
    a block is waited for before the next one without it.
    """
    networks = {wanted: calibrated(wanted / 1e3) for wanted in MILLISECONDS}
    tracker = begin(peer, setting, folder)
    numbers = iter(range(10**9))
    found = {}
    for wanted, network in networks.items():
        found[str(wanted)] = _compare(network, tracker, numbers, seconds * MILLISECONDS[wanted])
    # Not finished: a tracker that only queues what it is told would take minutes to.
    processes.kill_family(os.getpid())
    return found


def _compare(
    network: Network, tracker: Tracker, numbers: Iterator[int], seconds: float
) -> dict[str, float]:
    """Return by how many percent the tracker makes steps slower: the median of pairs of blocks."""

    def tracked() -> None:
        network.step()
        tracker.one(next(numbers))

    _each(tracked, WARM_UP)
    steps = _steps(_each(network.step, 10), _each(tracked, 10))
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(pairs) < LEAST_PAIRS:
        pairs.append(_pair(network.step, tracked, steps, is_plain_first=len(pairs) % 2 == 0))
    slower = [(with_it / without - 1) * 100 for without, with_it in pairs]
    return {
        "slower_percent": statistics.median(slower),
        "step_ms": statistics.median(without for without, _ in pairs) * 1e3,
    }


def calibrated(seconds: float) -> Network:
    """Return a network of which a step takes about so long."""
    batch = 4
    while True:
        network = Network(batch)
        _each(network.step, 5)
        taken = min(_each(network.step, 3) for _ in range(10))
        if taken >= seconds * 0.9:
            return network
        # Larger steps at first, where most of the time is not the batch's.
        batch = max(batch + 1, int(batch * min(seconds / taken, 2)))


def _each(step: Callable[[], object], count: int) -> float:
    """Return the seconds that a step takes."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def _steps(plain_seconds: float, tracked_seconds: float) -> int:
    """Return how many steps a block has."""
    wanted = BLOCK_SECONDS / 2 / plain_seconds
    return max(int(min(wanted, LONGEST_SECONDS / tracked_seconds)), 2)


def _pair(
    plain: Callable[[], object], tracked: Callable[[], object], steps: int, is_plain_first: bool
) -> tuple[float, float]:
    """Return the seconds of a step without and with the tracker."""
    if is_plain_first:
        without = _each(plain, steps)
        with_it = _each(tracked, steps)
        _settle()
    else:
        with_it = _each(tracked, steps)
        _settle()
        without = _each(plain, steps)
    return without, with_it


def _settle() -> None:
    """Wait until threads and processes of the tracker rest, half a second at most."""
    family = processes.family(os.getpid())
    if len(family) == 1 and processes.thread_count(os.getpid()) == 1:
        return
    end = time.perf_counter() + 0.5
    used = processes.cpu_seconds(os.getpid())
    while time.perf_counter() < end:
        time.sleep(0.03)
        now = processes.cpu_seconds(os.getpid())
        if now == used:
            return
        used = now
