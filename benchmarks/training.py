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
BARE: Final = Contender("bare write", "bare")
ENCODED: Final = Contender("bare msgspec and write", "bare", "msgspec")
NEAR: Final = (NONE, BARE, ENCODED, CONTENDERS[0])
"""What is near the limit, a third of a percent, is measured longer, and in each round."""

HOW: Final = """\
A network of two layers is trained in NumPy, on one core; its batch is so large that a step takes
0.1, 1 or 10 ms. Each step tracks its loss in one call. Blocks of steps with the tracker and blocks
without alternate within one process, which of both comes first too; a round's slowdown is the
median of its pairs. What threads and processes of the tracker still do after a block is waited
for, half a second at most, and not counted: where a tracker falls behind by more than that, its
threads also slow down the blocks without it, and its slowdown is understated.

A call between two steps finds none of its code and data in the processor's caches, nor does the
kernel: the bare write of the same line, a microsecond or two where it is called again and again,
shows what that costs here."""

EVERY: Final = (*NEAR, *CONTENDERS[1:])

Rounds = dict[tuple[str, float], list[float]]


def training(notebook: Notebook) -> None:
    """Measure all contenders, round by round."""
    rounds: Rounds = {}
    steps: dict[float, list[float]] = {one: [] for one in MILLISECONDS}
    failed: dict[str, str] = {}
    with stage(CONTENDERS) as there:
        for near in NEAR:
            there.environments[near.peer] = there.environments[STEPLOG]
        for number in range(notebook.size(5, 1)):
            for contender in EVERY:
                if contender in NEAR or number == 0:
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
    seconds = notebook.size(2.0 if contender in NEAR else 0.8, 0.3)
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
    bare, reached = (_median(rounds, one.label) for one in (BARE, CONTENDERS[0]))
    note = f"a bare write makes it {bare:.2g} % slower" if bare is not None else ""
    notebook.at_most("slower training, steps of 1 ms", 0.3, "%", reached, note)
    labels = sorted(
        (contender.label for contender in EVERY),
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


def _median(rounds: Rounds, label: str) -> float | None:
    found = rounds.get((label, 1.0))
    return statistics.median(found) if found else None


def _cells(rounds: Rounds, label: str) -> tuple[Measure | None, ...]:
    found = (rounds.get((label, milliseconds)) for milliseconds in MILLISECONDS)
    return tuple(measure(one) if one else None for one in found)


def _versions(notebook: Notebook, there: Stage) -> None:
    for environment in there.environments.values():
        if isinstance(environment, Environment):
            notebook.versions |= environment.main_versions()


if __name__ == "__main__":
    ask(3, "Training loop", "How much slower does a training get with each tracker?", training)
