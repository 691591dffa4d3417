"""The programs under `examples/`, run as they say, and what the run log has of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEADLINE_SECONDS, spools
from tests.daemon import configure, document, steplogd

EXAMPLES = Path(__file__).parents[2] / "examples"
BIN = Path(sys.executable).parent


@pytest.fixture
def path(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the commands of this environment on the path, as a user has; return the home."""
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    return home


def run_example(*command: str, folder: Path | None = None, **environment: str) -> str:
    """Run an example to its end; return what it said."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def folded(home: Path, settings: str = "") -> dict[str, Any]:
    """Fold the only run; return its run log."""
    (run_id,) = spools(home)
    done = steplogd("drain", "--config", configure(home, settings))
    assert done.returncode == 0, done.stderr
    return document(home, run_id)


def metrics(steps: dict[str, Any]) -> dict[str, Any]:
    """Return what each step tracked, those below others under their dotted names."""
    found = {}
    for step in steps.values():
        if step["user_defined_metrics"]:
            found[step["internal_name"]] = step["user_defined_metrics"]
        found |= metrics(step["branches"])
    return found


def test_api(home: Path) -> None:
    """Nested values and pydantic models are tracked by alias, wherever they stand."""
    said = run_example(sys.executable, str(EXAMPLES / "experiment_tracking_api.py"))

    run = folded(home)
    assert said == f"tracked as {run['run_id']}\n"
    assert run["status"] == "SUCCESS"
    assert metrics(run["steps"]) == {
        "main": {
            "spam": "hello",
            "eggs": {"ham": "world"},
            "answer": 42.0,
            "breakfast": {"plates": [{"ham": "world"}, {"ham": "universe"}]},
        }
    }


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_env(home: Path, shell: str) -> None:
    """What a script exports under the prefix is tracked, numbers and objects as such."""
    script = str(EXAMPLES / "experiment_tracking_env.sh")
    run_example("steplog", "exec", "--task", "shell", "--", shell, script)

    run = folded(home)
    assert list(run["steps"]) == ["shell", "success"]
    assert run["steps"]["shell"]["user_defined_metrics"] == {
        "spam": "hello",
        "eggs": {"ham": "world"},
        "answer": 42.0,
    }


def test_step(home: Path) -> None:
    """What was tracked at two steps stands by step, the rest flat, with types kept."""
    run_example(sys.executable, str(EXAMPLES / "experiment_tracking_step.py"))

    run = folded(home)
    assert list(run["steps"]) == ["Emit Metrics", "success"]
    tracked = run["steps"]["Emit Metrics"]["user_defined_metrics"]
    assert list(tracked.items()) == [
        ("spam", {"0": "hello", "1": "hey"}),
        ("eggs", {"0": {"ham": "world"}, "1": {"ham": "universe"}}),
        ("answer", 42.0),
        ("is_it_true", False),
    ]
    assert tracked["is_it_true"] is False


def test_integration(home: Path) -> None:
    """In MLflow numbers are a metric by step, and the rest are parameters by key and step."""
    from mlflow.tracking import MlflowClient

    run_example(sys.executable, str(EXAMPLES / "experiment_tracking_integration.py"))

    run = folded(home, (EXAMPLES / "mlflow.toml").read_text("utf-8"))
    assert run["tag"] == "experiment-tracking"
    assert metrics(run["steps"]) == {
        "Emit Metrics": {
            "spam": "hello",
            "eggs": {"ham": "world"},
            "answer": {"0": 0, "1": 20, "2": 40, "3": 60},
            "is_it_true": False,
        }
    }
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("experiment-tracking")
    assert experiment
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == run["run_id"]
    parameters = {"spam_0": "hello", "eggs_0": '{"ham": "world"}', "is_it_true_0": "False"}
    assert parameters.items() <= found.data.params.items()
    history = client.get_metric_history(found.info.run_id, "answer")
    assert [(point.step, point.value) for point in history] == [(0, 0), (1, 20), (2, 40), (3, 60)]


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("configuration", ["", str(EXAMPLES / "pipeline/parallel.yaml")])
def test_pipeline(home: Path, tmp_path: Path, configuration: str) -> None:
    """All tasks of a pipeline, in branches one by one or side by side, are in its run by name."""
    from mlflow.tracking import MlflowClient

    folder = copied(EXAMPLES / "pipeline", tmp_path)
    chosen = {"RUNNABLE_CONFIGURATION_FILE": configuration} if configuration else {}
    said = run_example(
        sys.executable, "pipeline.py", folder=folder, RUNNABLE_RUN_ID="nightly-7", **chosen
    )

    run = folded(home, (EXAMPLES / "mlflow.toml").read_text("utf-8"))
    assert "nightly-7" in said
    assert (run["run_id"], run["status"]) == ("nightly-7", "SUCCESS")
    assert metrics(run["steps"]) == {
        "prepare": {"chunks": 2},
        "train model": {"loss": {"0": 1.0, "1": 0.5, "2": 1 / 3}},
        "evaluate": {"accuracy": 0.93, "note": "fine"},
        "sizes.small.fit": {"size": 1},
        "sizes.large.fit": {"size": 100},
        "chunks.1.process": {"rows": 1000},
        "chunks.2.process": {"rows": 2000},
    }
    (found,) = MlflowClient(f"sqlite:///{home}/mlflow.db").search_runs(["0"])
    in_branches = {key: value for key, value in found.data.metrics.items() if "/" in key}
    assert in_branches == {
        "sizes/small/fit/size": 1,
        "sizes/large/fit/size": 100,
        "chunks/1/process/rows": 1000,
        "chunks/2/process/rows": 2000,
    }


def copied(source: Path, target: Path) -> Path:
    """Copy the files of an example, so that what its run leaves behind lies elsewhere."""
    folder = target / source.name
    folder.mkdir()
    for file in source.glob("*.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder
