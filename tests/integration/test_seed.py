"""What users of the original know of experiment tracking, sentence by sentence, as it is here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import STEPLOG
from tests.conftest import run_program
from tests.contract.trackers import MlflowStore
from tests.contract.wandb_store import inspect
from tests.daemon import configure, serving
from tests.seed import (
    FROM_A_SHELL,
    FROM_PYTHON,
    INTEGRATION,
    STEPS,
    git,
    metrics,
    mlflow_run,
    run_exec,
    shape,
    shown,
    without_command,
)

if TYPE_CHECKING:
    from mlflow.entities import Run


@pytest.fixture
def repository(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a git repository with one commit and a remote; the home lies beside it."""
    assert home != tmp_path
    folder = tmp_path / "core"
    folder.mkdir()
    (folder / "train.py").write_text("# what trains\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    git("init", "--quiet")
    git("remote", "add", "origin", "https://me:secret@example.org/core.git")
    git("add", ".")
    git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "--quiet", "-m", "m")
    return folder


@pytest.mark.usefixtures("repository")
def test_a_shell_task_gives_the_document_of_the_seed(home: Path) -> None:
    """Same keys, same order, same types, for a script that exports what that one exported."""
    script = """
        export STEPLOG_TRACK_eggs='{"ham": "world"}'
        export STEPLOG_TRACK_answer=42.0
        export STEPLOG_TRACK_spam=hello
    """
    run_exec("shell", "sh", "-c", script)

    document = without_command(shown(home))
    assert shape(FROM_A_SHELL) == shape(document)
    assert metrics(FROM_A_SHELL) == metrics(document)


@pytest.mark.usefixtures("repository")
def test_a_python_task_gives_the_document_of_the_seed(home: Path) -> None:
    """Same keys, same order, same types, for a program that tracks what that one tracked."""
    run_exec("Emit Metrics", sys.executable, "-c", "\n".join(map(str.strip, PLAIN)))

    document = without_command(shown(home))
    assert shape(FROM_PYTHON) == shape(document)
    assert metrics(FROM_PYTHON) == metrics(document)


PLAIN = [
    "import steplog",
    'steplog.track_this(spam="hello", eggs={"ham": "world"})',
    'steplog.track_this(spam="hey", eggs={"ham": "universe"}, step=1)',
    "steplog.track_this(answer=42.0, is_it_true=False)",
]


@pytest.mark.usefixtures("repository")
def test_the_run_log_says_how_the_run_was_executed(home: Path) -> None:
    """The commit, whether it was clean, where it lies (no password), attempts, and the log."""
    run_id = run_exec("shell", "sh", "-c", "echo hello; echo oops >&2")

    step = shown(home)["steps"]["shell"]
    (identity,) = step["code_identities"]
    assert identity == {
        "code_identifier": git("rev-parse", "HEAD").strip(),
        "code_identifier_type": "git",
        "code_identifier_dependable": True,
        "code_identifier_url": "https://example.org/core.git",
        "code_identifier_message": "",
    }
    assert [attempt["status"] for attempt in step["attempts"]] == ["SUCCESS"]
    (entry,) = step["data_catalog"]
    assert entry["name"] == "shell.execution.log"
    assert entry["catalog_relative_path"] == f"{run_id}/shell.execution.log"
    log = Path(entry["catalog_handler_location"], entry["catalog_relative_path"])
    assert sorted(log.read_text("utf-8").split()) == ["hello", "oops"]


def test_changed_code_is_not_dependable(home: Path, repository: Path) -> None:
    """And the message names the files."""
    (repository / "train.py").write_text("# what trains otherwise\n", encoding="utf-8")
    run_exec("shell", "true")

    (identity,) = shown(home)["steps"]["shell"]["code_identities"]
    assert identity["code_identifier_dependable"] is False
    assert "train.py" in identity["code_identifier_message"]


def test_a_pydantic_model_is_tracked_as_a_dict_by_alias(home: Path) -> None:
    """Wherever it stands."""
    run_program(
        """
        import steplog
        from pydantic import BaseModel, Field
        class Eggs(BaseModel):
            kind: str = Field(serialization_alias="ham")
        eggs = Eggs(kind="world")
        steplog.track_this(eggs=eggs, many=[eggs, {"deep": eggs}])
        """
    )

    plain = {"ham": "world"}
    assert metrics(shown(home))["main"] == {"eggs": plain, "many": [plain, {"deep": plain}]}


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_numbers_in_environment_variables_are_tracked_as_numbers(home: Path, shell: str) -> None:
    """By JSON's grammar; an object too."""
    script = "export STEPLOG_TRACK_a=42 STEPLOG_TRACK_b=-4.2e1 STEPLOG_TRACK_c='{\"d\": [1]}'"
    run_exec("shell", shell, "-c", script)

    tracked = metrics(shown(home))["shell"]
    assert tracked == {"a": 42, "b": -42.0, "c": {"d": [1]}}
    assert [type(tracked[key]) for key in "ab"] == [int, float]


def test_environment_variables_are_texts_otherwise(home: Path) -> None:
    """There are no booleans among them."""
    script = "export STEPLOG_TRACK_a=true STEPLOG_TRACK_b=True STEPLOG_TRACK_c=NaN"
    run_exec("shell", "sh", "-c", script)

    assert metrics(shown(home))["shell"] == {"a": "true", "b": "True", "c": "NaN"}


@pytest.mark.parametrize(
    "prefix", ["STEPLOG_TRACK_", "runnable_TRACK_", "RUNNABLE_TRACK_", "MAGNUS_TRACK_"]
)
def test_each_prefix_marks_what_is_tracked(home: Path, prefix: str) -> None:
    """And no other does."""
    run_exec("shell", "sh", "-c", f"export {prefix}spam=hello OTHER_TRACK_eggs=1")

    assert metrics(shown(home))["shell"] == {"spam": "hello"}


def test_metrics_of_a_task_stand_in_its_step_log(home: Path) -> None:
    """Each task's in its own, under `user_defined_metrics`."""
    run_program(
        """
        import steplog
        with steplog.start_run():
            with steplog.task("first"): steplog.track_this(spam=1)
            with steplog.task("second"): steplog.track_this(spam=2)
        """
    )

    assert metrics(shown(home)) == {"first": {"spam": 1}, "second": {"spam": 2}, "success": {}}


def test_metrics_of_a_failed_attempt_are_kept(home: Path) -> None:
    """The original dropped them; a retry is another attempt, and both can be told apart."""
    script = 'export STEPLOG_TRACK_"$1"=1; exit "$2"'
    run_id = run_exec("shell", "sh", "-c", script, "sh", "first", "3", status=3)
    again = [*STEPLOG, "exec", "--run-id", run_id, "--task", "shell", "--"]
    subprocess.run([*again, "sh", "-c", script, "sh", "second", "0"], check=True)

    document = shown(home)
    attempts = document["steps"]["shell"]["attempts"]
    assert [attempt["status"] for attempt in attempts] == ["FAIL", "SUCCESS"]
    assert attempts[0]["message"] == "exit status 3"
    assert metrics(document)["shell"] == {"first": 1, "second": 1}
    show = [*STEPLOG, "show", run_id, "--attempt", "1", "--json"]
    first = json.loads(subprocess.run(show, capture_output=True, check=True).stdout)
    assert metrics(first)["shell"] == {"first": 1}


def test_the_step_of_a_call_tracks_over_time(home: Path) -> None:
    """In any order, negative too; the keys stand in numeric order."""
    run_program(
        """
        import steplog
        for step in (10, 9, -1): steplog.track_this(step=step, x=step)
        """
    )

    tracked = metrics(shown(home))["main"]["x"]
    assert list(tracked.items()) == [("-1", -1), ("9", 9), ("10", 10)]


def test_the_step_of_a_variable_tracks_over_time(home: Path) -> None:
    """By the suffix `_STEP_` and the number."""
    script = "export runnable_TRACK_spam_STEP_0=hello runnable_TRACK_spam_STEP_1=hey"
    run_exec("shell", "sh", "-c", script)

    assert metrics(shown(home))["shell"] == {"spam": {"0": "hello", "1": "hey"}}


def test_the_step_is_0_by_default(home: Path) -> None:
    """In a call and in a variable alike; flat when it is the only one."""
    script = f'{sys.executable} -c "$1"; export STEPLOG_TRACK_b=1 STEPLOG_TRACK_c_STEP_0=1'
    call = "import steplog; steplog.track_this(a=1); steplog.track_this(step=0, a=2)"
    run_exec("shell", "sh", "-c", script, "sh", call)

    assert metrics(shown(home))["shell"] == {"a": 2, "b": 1, "c": 1}


def test_a_step_alone_does_not_stop_the_run(home: Path) -> None:
    """The original crashed when no other step had come before."""
    done = run_program("import steplog; steplog.track_this(step=5, x=1)")

    assert done.returncode == 0
    assert metrics(shown(home))["main"] == {"x": {"5": 1}}


def test_any_number_of_steps_of_a_key_is_kept(home: Path) -> None:
    """The original ran out of room in the environment."""
    done = run_program("import steplog\nfor i in range(10**5): steplog.track_this(step=i, x=i)")

    assert done.returncode == 0, done.stderr
    assert metrics(shown(home))["main"]["x"] == {str(i): i for i in range(10**5)}


def test_the_default_tracker_does_nothing(home: Path) -> None:
    """And the run log has it all, and says so."""
    run_program(STEPS)

    document = shown(home)
    tracker = {"service_name": "do-nothing", "service_type": "experiment_tracker"}
    assert document["run_config"]["experiment_tracker"] == tracker
    assert metrics(document)["main"] == FROM_PYTHON["steps"]["Emit Metrics"]["user_defined_metrics"]


def test_nothing_of_a_tracker_is_imported_by_default(home: Path) -> None:
    """Neither in a training nor in the daemon that folds it."""
    program = """
        import sys, steplog
        steplog.track_this(loss=0.5)
        with steplog.get_experiment_tracker_context() as client: assert client is None
        from steplogd.__main__ import main
        try: main(["drain"])
        except SystemExit as end: assert end.code == 0
        print({"mlflow", "wandb", "socket_of_ours"} & set(sys.modules))
    """
    done = run_program(program)

    assert (done.stdout, done.stderr) == ("set()\n", "")
    assert metrics(shown(home))["main"] == {"loss": 0.5}


@pytest.fixture
def delivered(home: Path, mlflow_server: MlflowStore) -> tuple[dict[str, Any], Run, MlflowStore]:
    """Run the seed's integration example against an MLflow server; return both sides of it."""
    assert run_program(INTEGRATION).stderr == ""
    server = f'[[backend]]\ntype = "mlflow"\nserver_url = "{mlflow_server.url}"\n'
    document = shown(home, "blazing-colden-0544", server)
    return document, mlflow_run(mlflow_server, "blazing-colden-0544"), mlflow_server


def test_the_example_arrives_in_an_mlflow_server(
    delivered: tuple[dict[str, Any], Run, MlflowStore],
) -> None:
    """Tag, run id, a metric with its steps, and the rest as parameters `key_step`."""
    document, run, store = delivered

    experiment = store.client.get_experiment(run.info.experiment_id)
    assert experiment.name == "mlflow_tag" == document["tag"]
    assert run.info.run_name == "blazing-colden-0544"
    history = store.client.get_metric_history(run.info.run_id, "answer")
    assert {(point.step, point.value) for point in history} == {(0, 0), (1, 20), (2, 40), (3, 60)}
    assert run.data.params == {
        "spam_0": "hello",
        "eggs_0": '{"ham": "world"}',
        "is_it_true_0": "False",
    }
    tracker = {"service_name": "mlflow", "service_type": "experiment_tracker"}
    assert document["run_config"]["experiment_tracker"] == tracker


@pytest.mark.usefixtures("home")
def test_the_client_context_is_a_null_context_by_default() -> None:
    """It yields None, and does no harm."""
    done = run_program(
        """
        import steplog
        with steplog.get_experiment_tracker_context() as client: print(client)
        """
    )

    assert (done.stdout, done.stderr) == ("None\n", "")


def test_the_example_arrives_in_weights_and_biases(home: Path) -> None:
    """With the user's steps, from W&B's own files: as the run log has it."""
    assert run_program(INTEGRATION).stderr == ""
    document = shown(home, "blazing-colden-0544", '[[backend]]\ntype = "wandb"\nmode="offline"\n')

    (log,) = (home / "wandb" / "wandb").glob("offline-run-*/run-blazing-colden-0544.wandb")
    rows = [row["item"] for row in inspect(log, "history")]
    answers = {str(row["steplog/step"]): row["answer"] for row in rows if "answer" in row}
    assert answers == metrics(document)["Emit Metrics"]["answer"]
    (texts,) = [row for row in rows if "spam" in row]
    assert (texts["spam"], texts["eggs"]) == ("hello", '{"ham": "world"}')
    assert texts["is_it_true"] is False
    assert [run["project"] for run in inspect(log, "run")] == ["mlflow_tag"]


def test_the_client_context_is_the_trackers_own(home: Path) -> None:
    """What it logs lands in the very run that the tracked values go to."""
    program = """
        import steplog, mlflow
        with steplog.start_run("r", tag="mlflow_tag"), steplog.task("train"):
            steplog.track_this(answer=42)
            with steplog.get_experiment_tracker_context(timeout_seconds=100):
                mlflow.log_text("weights", "model.txt")
    """
    with serving(home, "--config", configure(home, '[[backend]]\ntype = "mlflow"\n')):
        assert run_program(program).returncode == 0

    shown(home, "r", '[[backend]]\ntype = "mlflow"\n')
    store = MlflowStore(home)
    run = mlflow_run(store, "r")
    assert run.data.metrics == {"answer": 42.0}
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["model.txt"]


def test_a_branch_is_told_apart(home: Path) -> None:
    """By its dotted name in the run log, below its step, and by its path in MLflow."""
    run_program(
        """
        import steplog
        with steplog.start_run("r"), steplog.task("sizes"):
            for size in ("small", "large"):
                with steplog.task(size), steplog.task("fit"):
                    steplog.track_this(loss=5)
            steplog.track_this(loss=0)
        """
    )

    document = shown(home, "r", '[[backend]]\ntype = "mlflow"\n')
    step = document["steps"]["sizes"]
    assert step["user_defined_metrics"] == {"loss": 0}
    assert step["branches"]["sizes.small.fit"]["internal_name"] == "sizes.small.fit"
    assert step["branches"]["sizes.large.fit"]["user_defined_metrics"] == {"loss": 5}
    assert mlflow_run(MlflowStore(home), "r").data.metrics == {
        "loss": 0.0,
        "sizes/small/fit/loss": 5.0,
        "sizes/large/fit/loss": 5.0,
    }
