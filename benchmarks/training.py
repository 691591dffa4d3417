"""How much slower a real training gets with each tracker, against none."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.frame.answer import Measure, Row
from benchmarks.frame.environments import Environment, Unavailable
from benchmarks.frame.question import Notebook, ask
from benchmarks.frame.spread import measure
from benchmarks.peers.contenders import CONTENDERS, STEPLOG, Contender
from benchmarks.peers.running import Stage, stage
from benchmarks.peers.training import MILLISECONDS

NONE: Final = Contender("no tracker (the noise)", "none")

HOW: Final = """\
A network of two layers is trained in NumPy, on one core; its batch is so large that a step takes
0.1, 1 or 10 ms. Each step tracks its loss in one call. Blocks of steps with the tracker and blocks
without alternate within one process, which of both comes first too; a round's slowdown is the
median of its pairs. What threads and processes of the tracker still do after a block is waited
for, half a second at most, and not counted: where a tracker falls behind by more than that, its
threads also slow down the blocks without it, and its slowdown is understated."""

Rounds = dict[tuple[str, float], list[float]]


def training(notebook: Notebook) -> None:
    """Measure all contenders, round by round."""
    rounds: Rounds = {}
    steps: dict[float, list[float]] = {one: [] for one in MILLISECONDS}
    failed: dict[str, str] = {}
    with stage(CONTENDERS) as there:
        there.environments[NONE.peer] = there.environments[STEPLOG]
        for number in range(notebook.size(5, 1)):
            for contender in (NONE, *CONTENDERS):
                # The limit is a third of a percent: what is near it is measured more often.
                if contender.peer in (NONE.peer, STEPLOG) or number == 0:
                    notebook.say(f"{contender.label}, round {number + 1}")
                    _train(notebook, there, contender, rounds, steps, failed)
        _versions(notebook, there)
    notebook.text(HOW)
    _tell(notebook, rounds, steps, failed)


def _train(
    notebook: Notebook,
    there: Stage,
    contender: Contender,
    rounds: Rounds,
    steps: dict[float, list[float]],
    failed: dict[str, str],
) -> None:
    if contender.label in failed:
        return
    seconds = notebook.size(2.0 if contender.peer in (NONE.peer, STEPLOG) else 0.8, 0.3)
    try:
        found = there.run(contender, "train", seconds=seconds)
    except Unavailable as error:
        failed[contender.label] = str(error)
        return
    for milliseconds in MILLISECONDS:
        one = found[str(milliseconds)]
        rounds.setdefault((contender.label, milliseconds), []).append(one["slower_percent"])
        steps[milliseconds].append(one["step_ms"])


def _tell(
    notebook: Notebook, rounds: Rounds, steps: dict[float, list[float]], failed: dict[str, str]
) -> None:
    found = rounds.get((STEPLOG, 1.0))
    reached = statistics.median(found) if found else None
    notebook.at_most("slower training, steps of 1 ms", 0.3, "%", reached)
    labels = sorted(
        (contender.label for contender in (NONE, *CONTENDERS)),
        key=lambda label: statistics.median(rounds.get((label, 1.0)) or [float("inf")]),
    )
    columns = [(f"steps of {one:g} ms", "% slower") for one in MILLISECONDS]
    rows = [Row(label, _cells(rounds, label), failed.get(label, "")) for label in labels]
    notebook.table("Slowdown of a training", columns, rows)
    taken = ", ".join(f"{statistics.median(steps[one]):.3g}" for one in MILLISECONDS if steps[one])
    notebook.text(f"The steps took {taken} ms without a tracker.")
    bars = [
        (label, measure(found))
        for label in labels
        if label != NONE.label and (found := rounds.get((label, 1.0)))
    ]
    notebook.bars("1ms", "A training with steps of 1 ms: slower by", "%", bars, log=True)


def _cells(rounds: Rounds, label: str) -> tuple[Measure | None, ...]:
    found = (rounds.get((label, milliseconds)) for milliseconds in MILLISECONDS)
    return tuple(measure(one) if one else None for one in found)


def _versions(notebook: Notebook, there: Stage) -> None:
    for environment in there.environments.values():
        if isinstance(environment, Environment):
            notebook.versions |= environment.main_versions()


if __name__ == "__main__":
    ask(3, "Training loop", "How much slower does a training get with each tracker?", training)
