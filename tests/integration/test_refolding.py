"""A store that is lost while a real tracker has what it held: the tracker is as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import DEADLINE_SECONDS
from tests.contract.trackers import MlflowStore
from tests.contract.wandb_store import WandbStore
from tests.daemon import configure
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from pathlib import Path

WANDB = '[[backend]]\ntype = "wandb"\nmode = "offline"\n'


def tell(home: Path) -> None:
    """Write spools with all that is kept in a way of its own, and lines that say no time."""
    a = Scribe()
    begin = a.line("open"), a.line("join", tag="t", parameters={"lr": 0.1, "note": "x" * 7000})
    tracks = [a.track(step=step // 2, loss=step // 3 / 7, acc=1.0) for step in range(300)]
    odd = [
        a.track(step=1, text="läuft", big=2**70 + 1, nested={"1": [1, None]}),
        a.line("track", step=2, values={"k" * 400: 0.5, "worst": {"$float": "NaN"}}),
        a.line("track", step=2, values={"k" * 400: 0.25}),
    ]
    append(home, "r", *begin, *tracks, *odd, a.line("leave"))
    append(home, "bare", *[line("track", values={"x": x}) for x in (0.5, 0.5, 0.25, 0.5)])


def lose(home: Path) -> None:
    """Delete the store, and let what is folded from now on arrive later than it did."""
    for path in home.glob("steplog.db*"):
        path.unlink()
    append(home, "bare", line("track", values={"x": 0.125}))


def call(command: str, config: str) -> str:
    """Run a command of the daemon to its end, which takes long on a busy machine."""
    told = subprocess.run(
        [sys.executable, "-m", "steplogd", *command.split(), "--config", config],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def is_equal(config: str) -> bool:
    """Tell what `steplogd verify` says."""
    return bool(json.loads(call("verify --json", config))["equal"])


def held(store: MlflowStore, run_id: str) -> tuple[Any, ...]:
    """Return all metrics, params and tags that MLflow holds of a run."""
    (run,) = store.runs(run_id)
    metrics = {
        (name, seen.step, seen.timestamp, repr(seen.value))
        for name in run.data.metrics
        for seen in store.client.get_metric_history(run.info.run_id, name)
    }
    tags = {name: tag for name, tag in run.data.tags.items() if name.startswith("steplog.")}
    return metrics, run.data.params, tags


def test_mlflow_gets_what_is_new_and_that_alone(home: Path) -> None:
    """A line that says no time keeps its first; names that were cut are whole in a tag."""
    config = configure(home, '[[backend]]\ntype = "mlflow"\n')
    tell(home)
    call("drain", config)
    store = MlflowStore(home)
    before, (bare, *_) = held(store, "r"), held(store, "bare")
    lose(home)

    call("drain", config)

    after, (bare_after, *_) = held(store, "r"), held(store, "bare")
    assert after == before
    assert bare < bare_after
    assert [(step, value) for _, step, _, value in bare_after - bare] == [(0, "0.125")]
    assert is_equal(config)


def test_wandb_gets_what_is_new_and_that_alone(home: Path) -> None:
    """Row by row."""
    pytest.importorskip("wandb")
    config = configure(home, WANDB)
    tell(home)
    call("drain", config)
    before = [WandbStore(home).rows(run_id) for run_id in ("r", "bare")]
    lose(home)

    call("drain", config)

    after = [WandbStore(home).rows(run_id) for run_id in ("r", "bare")]
    assert after[0] == before[0]
    assert (after[1][:-1], after[1][-1]["_step"]) == (before[1], 5)
    assert is_equal(config)
