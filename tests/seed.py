"""What the original says and shows, as samples and programs; and how it is compared, for tests."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.commands import STEPLOG
from tests.conftest import DEADLINE_SECONDS, spools
from tests.daemon import configure, steplogd

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tests.contract.trackers import MlflowStore

SEED = Path(__file__).parent / "integration" / "samples" / "seed"

FROM_A_SHELL = json.loads(
    (SEED / "blazing-colden-0544.json").read_text("utf-8"),
    strict=False,  # it holds a raw line feed
)

FROM_PYTHON = json.loads((SEED / "blocking-stonebraker-1545.json").read_text("utf-8"))

STEPS = """
    import steplog
    from pydantic import BaseModel

    class Eggs(BaseModel):
        ham: str

    steplog.track_this(spam="hello", eggs=Eggs(ham="world"))
    steplog.track_this(spam="hey", eggs=Eggs(ham="universe"), step=1)
    steplog.track_this(answer=42.0, is_it_true=False)
"""

INTEGRATION = """
    import steplog
    with steplog.start_run("blazing-colden-0544", tag="mlflow_tag"):
        with steplog.task("Emit Metrics"):
            for step in range(4):
                steplog.track_this(step=step, answer=20 * step)
            steplog.track_this(spam="hello", eggs={"ham": "world"}, is_it_true=False)
"""


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def run_exec(task: str, *command: str, status: int = 0) -> str:
    """Run a command as a task of a new run; return the run's id."""
    done = subprocess.run(
        [*STEPLOG, "exec", "--task", task, "--", *command],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == status, done.stderr
    (run_id,) = re.findall(r"steplog: the run is (\S+)\n", done.stderr)
    return str(run_id)


def shown(home: Path, run_id: str | None = None, settings: str = "") -> dict[str, Any]:
    """Drain, and return what `steplog show --json` prints of a run, the only one if not named."""
    drained = steplogd("drain", "--config", configure(home, settings))
    assert drained.returncode == 0, drained.stderr
    command = [*STEPLOG, "show", run_id or spools(home)[0], "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    document: dict[str, Any] = json.loads(said)
    return document


def shape(node: Any) -> Any:
    """Return the keys of a document in their order, and the types of its values."""
    if isinstance(node, dict):
        return [(key, shape(value)) for key, value in node.items()]
    return [shape(item) for item in node] if isinstance(node, list) else type(node).__name__


def without_command(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without the one key that the original does not have: what ran."""
    assert document["run_config"].pop("command")
    return document


def metrics(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each step tracked."""
    return {name: step["user_defined_metrics"] for name, step in document["steps"].items()}


def mlflow_run(store: MlflowStore, run_id: str) -> Run:
    (found,) = store.runs(run_id)
    return found
