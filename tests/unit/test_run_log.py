"""The run log's document: its tasks, their attempts and code, and how it ends."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from steplog.run_log import read_run_log

if TYPE_CHECKING:
    from tests.stores import Store


def run_config(task: str, **told: Any) -> dict[str, Any]:
    """Return the `run_config` of a run of one task."""
    usual = {
        "executor": {
            "service_name": "local",
            "service_type": "executor",
            "enable_parallel": False,
            "placeholders": {},
        },
        "run_log_store": {"service_name": "sqlite", "service_type": "run_log_store"},
        "secrets_handler": {"service_name": "do-nothing", "service_type": "secrets"},
        "catalog_handler": {"service_name": "file-system", "service_type": "catalog"},
        "experiment_tracker": {
            "service_name": "do-nothing",
            "service_type": "experiment_tracker",
        },
        "pipeline_file": "",
        "parameters_file": None,
        "configuration_file": None,
        "tag": "",
        "run_id": "",
        "variables": {},
        "use_cached": False,
        "original_run_id": "",
        "dag": {
            "start_at": task,
            "name": "",
            "description": "",
            "internal_branch_name": "",
            "steps": {
                name: {
                    "type": kind,
                    "name": name,
                    "internal_name": name,
                    "internal_branch_name": "",
                    "is_composite": False,
                }
                for name, kind in ((task, "task"), ("success", "success"), ("fail", "fail"))
            },
        },
        "dag_hash": "",
        "execution_plan": "chained",
    }
    return usual | told


CODE = {
    "code_identifier": "793b052b8b603760ff1eb843597361219832b61c",
    "code_identifier_type": "git",
    "code_identifier_dependable": True,
    "code_identifier_url": "https://example.org/core.git",
    "code_identifier_message": "",
}
LOG = {
    "name": "shell.execution.log",
    "data_hash": "07723e6188e7893ac79e8f07b7cc15dd1a62d2974335f173a0b5a6e58a3735d6",
    "catalog_relative_path": "blazing-colden-0544/shell.execution.log",
    "catalog_handler_location": ".catalog",
    "stage": "put",
}


def step_log(name: str, **changes: Any) -> dict[str, Any]:
    usual = {
        "name": name,
        "internal_name": name,
        "status": "SUCCESS",
        "step_type": "task",
        "message": "",
        "mock": False,
        "code_identities": [],
        "attempts": [],
        "user_defined_metrics": {},
        "branches": {},
        "data_catalog": [],
    }
    return usual | changes


def attempt(number: int = 1, **changes: Any) -> dict[str, Any]:
    usual = {
        "attempt_number": number,
        "start_time": "2024-01-09 05:44:42.841295",
        "end_time": "2024-01-09 05:44:42.849938",
        "duration": "0:00:00.008643",
        "status": "SUCCESS",
        "message": "",
        "parameters": {},
    }
    return usual | changes


def test_the_document_is_the_one_of_the_seed(empty: Store) -> None:
    """All fields of the seed's first run log are there, in its order, in its layout."""
    empty.run("blazing-colden-0544", config='{"executor":{"service_name":"slurm"}}')
    empty.task("shell")
    empty.attempt()
    empty.insert("code", run_no=1, task_no=-1, identity=json.dumps(CODE))
    empty.insert("catalog", run_no=1, task_no=0, name=LOG["name"], entry=json.dumps(LOG))
    empty.observe("eggs", {"ham": "world"})
    empty.observe("answer", 42.0)
    empty.observe("spam", "hello")

    ended = attempt(start_time="2024-01-09 05:44:42.849938", duration="0:00:00")
    expected = {
        "run_id": "blazing-colden-0544",
        "dag_hash": "",
        "use_cached": False,
        "tag": "",
        "original_run_id": "",
        "status": "SUCCESS",
        "steps": {
            "shell": step_log(
                "shell",
                code_identities=[CODE],
                attempts=[attempt()],
                user_defined_metrics={"eggs": {"ham": "world"}, "answer": 42.0, "spam": "hello"},
                data_catalog=[LOG],
            ),
            "success": step_log(
                "success", step_type="success", code_identities=[CODE], attempts=[ended]
            ),
        },
        "parameters": {},
        "run_config": run_config(
            "shell", executor={"service_name": "slurm"}, run_id="blazing-colden-0544"
        ),
    }
    assert json.dumps(expected, indent=4) + "\n" == empty.written("blazing-colden-0544")
    assert json.dumps(expected) == json.dumps(read_run_log(empty.home, "blazing-colden-0544"))


def test_nested_tasks_are_branches_of_the_outermost(store: Store) -> None:
    """A task within others stands under the outermost one, by its internal name."""
    store.task("train", "epoch", task_no=1)
    store.task("train", "epoch", "batch", task_no=2)
    store.observe("loss", 0.5, task_no=2)

    steps = read_run_log(store.home, "r")["steps"]
    assert list(steps) == ["train", "success"]
    epoch = step_log("epoch", internal_name="train.epoch")
    batch = step_log("batch", internal_name="train.epoch.batch", user_defined_metrics={"loss": 0.5})
    assert {"train.epoch": epoch, "train.epoch.batch": batch} == steps["train"]["branches"]


def test_a_parent_that_was_never_entered_has_a_bare_step_log(empty: Store) -> None:
    """Its status is what its branches have in common: PROCESSING, then FAIL, come first."""
    empty.run()
    empty.task("outer", "good", task_no=0)
    empty.task("outer", "bad", task_no=1, status="FAIL")

    outer = read_run_log(empty.home, "r")["steps"]["outer"]
    assert step_log("outer", status="FAIL") == outer | {"branches": {}}
    assert list(outer["branches"]) == ["outer.good", "outer.bad"]


def test_paths_that_read_alike_are_kept_apart(empty: Store) -> None:
    """The task b.c in a, and c in b in a, are two branches, and neither hides the other."""
    empty.run()
    empty.task("a", "b.c", task_no=0)
    empty.task("a", "b", "c", task_no=1)
    empty.observe("loss", 1, task_no=0)
    empty.observe("loss", 2, task_no=1)

    branches = json.loads(empty.written())["steps"]["a"]["branches"]
    found = [branch["user_defined_metrics"] for branch in branches.values()]
    assert found == [{"loss": 1}, {"loss": 2}]


def test_steps_stand_in_the_order_of_appearance(empty: Store) -> None:
    """Tasks follow their numbers, not their names."""
    empty.run()
    empty.task("zebra", task_no=0)
    empty.task("ape", task_no=1)

    assert list(read_run_log(empty.home, "r")["steps"]) == ["zebra", "ape", "success"]


def test_code_of_the_run_comes_before_the_task_s_own(store: Store) -> None:
    """An identity without a task applies to every step; absent fields get their defaults."""
    store.insert("code", run_no=1, task_no=-1, identity=json.dumps(CODE))
    store.insert("code", run_no=1, task_no=0, identity='{"code_identifier":"abc"}')

    own = {**CODE, "code_identifier": "abc", "code_identifier_type": "", "code_identifier_url": ""}
    own["code_identifier_dependable"] = False
    steps = read_run_log(store.home, "r")["steps"]
    assert [CODE, own] == steps["train"]["code_identities"]
    assert steps["success"]["code_identities"] == [CODE]


def test_a_run_that_goes_on_has_no_terminal_step(empty: Store) -> None:
    """Nothing says success or fail before the end, and an open attempt has no end and duration."""
    empty.run(status="PROCESSING", end_ts=None)
    empty.task("train", status="PROCESSING")
    empty.attempt(status="PROCESSING", end_ts=None, parameters='{"lr":{"$float":"NaN"}}')

    steps = read_run_log(empty.home, "r")["steps"]
    assert list(steps) == ["train"]
    (found,) = steps["train"]["attempts"]
    assert math.isnan(found.pop("parameters")["lr"])
    expected = attempt(status="PROCESSING", end_time=None, duration=None)
    assert found == {name: expected[name] for name in found}


def test_a_failed_run_ends_with_a_step_that_says_why(empty: Store) -> None:
    """The last step is named fail, and has the run's message."""
    empty.run(status="FAIL", message="killed", killed=1, tag="t")
    empty.task("train")

    document = read_run_log(empty.home, "r")
    assert list(document["steps"]) == ["train", "fail"]
    assert document["steps"]["fail"]["message"] == "killed"
    assert document["run_config"] == run_config("train", tag="t", run_id="r")


def test_a_task_named_success_is_not_hidden_by_the_terminal_step(empty: Store) -> None:
    """The task's own step log stands under the name, with what it tracked."""
    empty.run()
    empty.task("success")
    empty.observe("loss", 1)

    assert empty.metrics("success") == {"loss": 1}


def test_a_task_that_is_the_terminal_step_needs_no_other(empty: Store) -> None:
    """Whatever its name is; but a task in a branch is not it."""
    empty.run()
    empty.task("each", "a", "success", task_no=0)
    empty.task("done", task_no=1)
    empty.connection.execute("UPDATE task SET step_type = 'success' WHERE task_no = 0")
    before = list(read_run_log(empty.home, "r")["steps"])
    empty.connection.execute("UPDATE task SET step_type = 'success' WHERE task_no = 1")

    after = list(read_run_log(empty.home, "r")["steps"])

    assert before == ["each", "done", "success"]
    assert after == ["each", "done"]


def test_times_beyond_the_calendar_do_not_fail(store: Store) -> None:
    """A line of another program may claim any time; the number stands as it is."""
    store.attempt(number=2, start_ts=2**63 - 1, end_ts=0)

    last = read_run_log(store.home, "r")["steps"]["train"]["attempts"][1]
    assert (str(2**63 - 1), "0:00:00") == (last["start_time"], last["duration"])
