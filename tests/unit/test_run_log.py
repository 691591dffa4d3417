"""The run log read back from a store: the document, streamed and whole, and the runs in short."""

from __future__ import annotations

import json
import math
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import steplogd.store
from steplog import values
from steplog.errors import InvalidName, RunNotFound, StoreUnreadable
from steplog.run_list import Selection, list_runs
from steplog.run_log import read_run_log, write_run_log
from steplog.store_reader import NothingFolded
from steplog.summaries import summarise

SCHEMA = Path(steplogd.store.__file__).with_name("schema.sql").read_text("utf-8")
START = 1704779082841295  # 2024-01-09 05:44:42.841295
END = 1704779082849938


class _Store:
    """A store as the daemon would have left it, filled by hand."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.connection = sqlite3.connect(home / "steplog.db", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.executescript(f"BEGIN; {SCHEMA}; PRAGMA user_version = 2; COMMIT")
        self.positions: dict[int, int] = {}
        self.series: dict[tuple[int, int, int, Any], int] = {}

    def insert(self, table: str, **columns: Any) -> None:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        self.connection.execute(sql, list(columns.values()))

    def run(self, run_id: str = "r", run_no: int = 1, **columns: Any) -> None:
        empty = dict.fromkeys(("position", "revision", "lost", "gaps", "repeated"), 0)
        usual = {"tag": "", "status": "SUCCESS", "killed": 0, "message": "", "start_ts": START}
        usual |= {"end_ts": END, "parameters": "{}", "config": "{}", "unknown": 0, "malformed": 0}
        self.insert("run", run_id=run_id, run_no=run_no, **(empty | usual | columns))

    def task(self, *path: str, task_no: int = 0, status: str = "SUCCESS", run_no: int = 1) -> None:
        told = {"path": json.dumps(path), "status": status, "message": ""}
        self.insert("task", run_no=run_no, task_no=task_no, step_type="task", mock=0, **told)

    def attempt(self, task_no: int = 0, number: int = 1, **columns: Any) -> None:
        usual = {"start_ts": START, "end_ts": END, "status": "SUCCESS", "message": ""}
        usual |= {"run_no": 1, "task_no": task_no, "number": number, "parameters": "{}"}
        self.insert("attempt", **(usual | columns))

    def observe(
        self,
        key: Any,
        value: Any,
        step: int = 0,
        task_no: int = 0,
        attempt: int = 1,
        run_no: int = 1,
    ) -> None:
        named = (run_no, task_no, attempt, key)
        if named not in self.series:
            self.series[named] = sum(1 for other in self.series if other[0] == run_no)
            rest = {"task_no": task_no, "attempt": attempt, "key": key}
            self.insert("series", run_no=run_no, series_no=self.series[named], **rest)
        at = self.positions[run_no] = self.positions.get(run_no, 0) + 1
        column = values.to_column(value)
        rest = {"series_no": self.series[named], "step": step, "ts": START, "value": column}
        self.insert("observation", run_no=run_no, position=at, **rest)
        self.connection.execute("UPDATE run SET position = ? WHERE run_no = ?", (at, run_no))

    def metrics(self, task: str = "train") -> dict[str, Any]:
        found: dict[str, Any] = read_run_log(self.home, "r")["steps"][task]["user_defined_metrics"]
        return found

    def written(self, run_id: str = "r") -> str:
        pieces: list[str] = []
        write_run_log(self.home, run_id, pieces.append)
        return "".join(pieces)


@pytest.fixture
def empty(tmp_path: Path) -> _Store:
    return _Store(tmp_path)


@pytest.fixture
def store(empty: _Store) -> _Store:
    empty.run()
    empty.task("train")
    empty.attempt()
    return empty


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


def test_the_document_is_the_one_of_the_seed(empty: _Store) -> None:
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


def test_steps_stand_in_numeric_order(store: _Store) -> None:
    """Ten comes after two, and a negative step first, whatever the order of tracking."""
    for step in (10, 2, 0, -1):
        store.observe("loss", step / 2, step)

    assert list(store.metrics()["loss"].items()) == [
        ("-1", -0.5),
        ("0", 0.0),
        ("2", 1.0),
        ("10", 5.0),
    ]


def test_only_step_zero_stands_flat(store: _Store) -> None:
    """A key that was tracked at one other step stands by step, as does one with more steps."""
    store.observe("flat", 1)
    store.observe("later", 1, step=5)
    store.observe("both", 1)
    store.observe("both", 2, step=1)

    assert store.metrics() == {"flat": 1, "later": {"5": 1}, "both": {"0": 1, "1": 2}}


def test_the_later_one_wins_across_attempts(store: _Store) -> None:
    """Attempts of a task are one in the document, and keys keep the order of appearance."""
    store.attempt(number=2)
    store.observe("loss", 0.9, step=1, attempt=1)
    store.observe("loss", 0.8, step=2, attempt=1)
    store.observe("acc", 0.5, attempt=0)
    store.observe("loss", 0.1, step=1, attempt=2)
    store.observe("loss", 0.7, step=2, attempt=1)

    assert store.metrics() == {"loss": {"1": 0.1, "2": 0.7}, "acc": 0.5}
    assert list(store.metrics()) == ["loss", "acc"]


def test_a_nested_value_is_never_taken_for_steps(store: _Store) -> None:
    """An object with numbers for keys stays the value it is, flat or at a step."""
    store.observe("flat", {"0": "a", "1": "b"})
    store.observe("stepped", {"0": "a"}, step=1)

    assert store.metrics() == {"flat": {"0": "a", "1": "b"}, "stepped": {"1": {"0": "a"}}}


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (42, "42"),
        (42.0, "42.0"),
        (1e300, "1e+300"),
        (-0.0, "-0.0"),
        (False, "false"),
        (0, "0"),
        (None, "null"),
        ("42", '"42"'),
        ("é\x9b\x1b", '"\\u00e9\\u009b\\u001b"'),
        ("\ud800", '"\\ud800"'),
        ([], "[]"),
        ({}, "{}"),
        (2**63, str(2**63)),
        (-(2**9000), str(-(2**9000))),
    ],
)
def test_a_value_keeps_its_type_and_its_digits(store: _Store, value: Any, printed: str) -> None:
    """What was tracked is read back as it was, and printed in ASCII by every reader's JSON."""
    store.observe("it", value)

    found = store.metrics()["it"]
    assert (type(value), repr(value)) == (type(found), repr(found))
    assert f'"it": {printed}\n' in store.written()


def test_more_digits_than_a_reader_takes_are_printed_in_hex(store: _Store) -> None:
    """Such an integer is itself when read back, and a string in JSON, which json.loads takes."""
    store.observe("it", -(2**20000))

    assert store.metrics() == {"it": -(2**20000)}
    printed = json.loads(store.written())["steps"]["train"]["user_defined_metrics"]["it"]
    assert int(printed, 16) == -(2**20000)


def test_non_finite_numbers_are_floats_and_print_as_strings(store: _Store) -> None:
    """NaN and the infinities are floats in Python and strings in JSON, nested ones too."""
    store.observe("worst", math.inf)
    store.observe("loss", math.nan, step=1)
    store.observe("nested", {"a": [math.nan, -math.inf]})

    found = store.metrics()
    assert math.inf == found["worst"]
    assert math.isnan(found["loss"]["1"])
    assert -math.inf == found["nested"]["a"][1]
    printed = json.loads(store.written())["steps"]["train"]["user_defined_metrics"]
    expected = {"worst": "Infinity", "loss": {"1": "NaN"}, "nested": {"a": ["NaN", "-Infinity"]}}
    assert expected == printed


def test_a_key_with_a_lone_surrogate_comes_back(store: _Store) -> None:
    """A key that SQLite holds as bytes is the text it was, and an escape in JSON."""
    store.observe("\udc80 loss".encode("utf-8", "surrogatepass"), 1)

    assert store.metrics() == {"\udc80 loss": 1}
    assert '"\\udc80 loss": 1' in store.written()


def test_nested_tasks_are_branches_of_the_outermost(store: _Store) -> None:
    """A task within others stands under the outermost one, by its internal name."""
    store.task("train", "epoch", task_no=1)
    store.task("train", "epoch", "batch", task_no=2)
    store.observe("loss", 0.5, task_no=2)

    steps = read_run_log(store.home, "r")["steps"]
    assert list(steps) == ["train", "success"]
    epoch = step_log("epoch", internal_name="train.epoch")
    batch = step_log("batch", internal_name="train.epoch.batch", user_defined_metrics={"loss": 0.5})
    assert {"train.epoch": epoch, "train.epoch.batch": batch} == steps["train"]["branches"]


def test_a_parent_that_was_never_entered_has_a_bare_step_log(empty: _Store) -> None:
    """Its status is what its branches have in common: PROCESSING, then FAIL, come first."""
    empty.run()
    empty.task("outer", "good", task_no=0)
    empty.task("outer", "bad", task_no=1, status="FAIL")

    outer = read_run_log(empty.home, "r")["steps"]["outer"]
    assert step_log("outer", status="FAIL") == outer | {"branches": {}}
    assert list(outer["branches"]) == ["outer.good", "outer.bad"]


def test_paths_that_read_alike_are_kept_apart(empty: _Store) -> None:
    """The task b.c in a, and c in b in a, are two branches, and neither hides the other."""
    empty.run()
    empty.task("a", "b.c", task_no=0)
    empty.task("a", "b", "c", task_no=1)
    empty.observe("loss", 1, task_no=0)
    empty.observe("loss", 2, task_no=1)

    branches = json.loads(empty.written())["steps"]["a"]["branches"]
    found = [branch["user_defined_metrics"] for branch in branches.values()]
    assert found == [{"loss": 1}, {"loss": 2}]


def test_steps_stand_in_the_order_of_appearance(empty: _Store) -> None:
    """Tasks follow their numbers, not their names."""
    empty.run()
    empty.task("zebra", task_no=0)
    empty.task("ape", task_no=1)

    assert list(read_run_log(empty.home, "r")["steps"]) == ["zebra", "ape", "success"]


def test_code_of_the_run_comes_before_the_task_s_own(store: _Store) -> None:
    """An identity without a task applies to every step; absent fields get their defaults."""
    store.insert("code", run_no=1, task_no=-1, identity=json.dumps(CODE))
    store.insert("code", run_no=1, task_no=0, identity='{"code_identifier":"abc"}')

    own = {**CODE, "code_identifier": "abc", "code_identifier_type": "", "code_identifier_url": ""}
    own["code_identifier_dependable"] = False
    steps = read_run_log(store.home, "r")["steps"]
    assert [CODE, own] == steps["train"]["code_identities"]
    assert steps["success"]["code_identities"] == [CODE]


def test_a_run_that_goes_on_has_no_terminal_step(empty: _Store) -> None:
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


def test_a_failed_run_ends_with_a_step_that_says_why(empty: _Store) -> None:
    """The last step is named fail, and has the run's message."""
    empty.run(status="FAIL", message="killed", killed=1, tag="t")
    empty.task("train")

    document = read_run_log(empty.home, "r")
    assert list(document["steps"]) == ["train", "fail"]
    assert document["steps"]["fail"]["message"] == "killed"
    assert document["run_config"] == run_config("train", tag="t", run_id="r")


def test_a_task_named_success_is_not_hidden_by_the_terminal_step(empty: _Store) -> None:
    """The task's own step log stands under the name, with what it tracked."""
    empty.run()
    empty.task("success")
    empty.observe("loss", 1)

    assert empty.metrics("success") == {"loss": 1}


def test_a_task_that_is_the_terminal_step_needs_no_other(empty: _Store) -> None:
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


def test_times_beyond_the_calendar_do_not_fail(store: _Store) -> None:
    """A line of another program may claim any time; the number stands as it is."""
    store.attempt(number=2, start_ts=2**63 - 1, end_ts=0)

    last = read_run_log(store.home, "r")["steps"]["train"]["attempts"][1]
    assert (str(2**63 - 1), "0:00:00") == (last["start_time"], last["duration"])


def test_nothing_folded_says_what_to_start(tmp_path: Path) -> None:
    """Without a store, the error names the two commands that make one; nothing is created."""
    with pytest.raises(NothingFolded, match=r"`steplogd run`.*`steplogd drain`"):
        read_run_log(tmp_path, "r")

    assert list(tmp_path.iterdir()) == []


def test_a_store_that_the_daemon_is_just_making_is_nothing_folded(tmp_path: Path) -> None:
    """An empty file is a store that has no schema yet."""
    (tmp_path / "steplog.db").touch()

    with pytest.raises(NothingFolded):
        read_run_log(tmp_path, "r")


def test_a_store_of_another_version_is_refused(store: _Store) -> None:
    """A schema of a later release is not guessed at."""
    store.connection.execute("PRAGMA user_version = 3")

    with pytest.raises(StoreUnreadable, match=r"version 3.*version 2"):
        read_run_log(store.home, "r")


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    """Neither a file of something else nor a folder raises an error of SQLite's own."""
    (tmp_path / "steplog.db").write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(StoreUnreadable, match="not a database"):
        read_run_log(tmp_path, "r")

    (tmp_path / "other" / "steplog.db").mkdir(parents=True)
    with pytest.raises(StoreUnreadable):
        read_run_log(tmp_path / "other", "r")


def test_an_unknown_run_is_not_found(store: _Store) -> None:
    """A run that is not there, and an id that cannot be, are told apart."""
    with pytest.raises(RunNotFound, match="steplog ls"):
        read_run_log(store.home, "other")

    with pytest.raises(InvalidName):
        read_run_log(store.home, "../r")


def test_a_home_with_odd_characters_is_read(tmp_path: Path) -> None:
    """A path is not taken for a part of SQLite's URI."""
    home = tmp_path / "a ?mode=rwc#%41"
    home.mkdir()
    _Store(home).run()

    assert read_run_log(home, "r")["run_id"] == "r"


def test_reading_writes_nothing(store: _Store) -> None:
    """The connection that reads cannot change the store, whatever it is told."""
    from steplog.store_reader import snapshot

    with (
        pytest.raises(StoreUnreadable, match="readonly"),
        snapshot(store.home) as connection,
    ):
        connection.execute("DELETE FROM run")


def test_a_commit_during_the_writing_does_not_show(store: _Store) -> None:
    """The document is as of one moment, also when the daemon goes on folding meanwhile."""
    store.connection.execute("BEGIN")
    for step in range(10_000):
        store.observe("loss", 0.5, step)
    store.connection.execute("COMMIT")
    pieces: list[str] = []

    def write(piece: str) -> None:
        pieces.append(piece)
        store.observe("loss", 0.5, 20_000 + len(pieces))

    write_run_log(store.home, "r", write)

    assert len(pieces) > 2
    document = json.loads("".join(pieces))
    assert len(document["steps"]["train"]["user_defined_metrics"]["loss"]) == 10_000


def test_a_given_connection_is_left_as_it_was(store: _Store) -> None:
    """Neither a temporary table nor a transaction stays, also when `write` fails."""
    store.observe("loss", 0.5)
    store.connection.row_factory = lambda *_: {}

    def fail(piece: str) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_run_log(store.connection, "r", fail)

    assert not store.connection.in_transaction
    assert store.connection.execute("SELECT * FROM sqlite_temp_master").fetchall() == []
    document = read_run_log(store.connection, "r")
    assert document["steps"]["train"]["user_defined_metrics"] == {"loss": 0.5}


def test_writing_takes_no_more_memory_for_more_points(store: _Store) -> None:
    """A run of 200,000 points is written within what one of 2,000 takes, a piece at a time."""
    few = _peak_bytes(store, 2_000)
    many = _peak_bytes(store, 200_000)

    assert many < few + 200_000


def _peak_bytes(store: _Store, points: int) -> int:
    store.observe("loss", 0.5)
    (series,) = store.series.values()
    at = store.positions[1]
    store.positions[1] = at + points
    rows = ((at + i, series, i) for i in range(1, points + 1))
    store.connection.execute("BEGIN")
    store.connection.executemany(f"INSERT INTO observation VALUES (1, ?, ?, ?, {START}, 0.1)", rows)
    store.connection.execute("COMMIT")
    sizes: list[int] = [0]
    tracemalloc.start()
    try:
        write_run_log(
            store.home, "r", lambda piece: sizes.__setitem__(0, max(sizes[0], len(piece)))
        )
        return max(tracemalloc.get_traced_memory()[1], sizes[0])
    finally:
        tracemalloc.stop()


def test_runs_are_listed_newest_first_and_by_tag(empty: _Store) -> None:
    """The run that started last comes first; a tag selects those that have exactly it."""
    empty.run("old", 1, start_ts=1, tag="a")
    empty.run("new", 2, start_ts=3, parameters='{"lr":0.1}')
    empty.run("mid", 3, start_ts=2, tag="A", killed=1)

    found = list_runs(empty.home)
    assert [run.run_id for run in found] == ["new", "mid", "old"]
    assert (found[0].parameters, found[0].killed, found[1].killed) == ({"lr": 0.1}, False, True)
    assert [run.run_id for run in list_runs(empty.home, Selection(tag="a"))] == ["old"]


def test_a_summary_counts_and_bounds_each_series(store: _Store) -> None:
    """Attempts are one series; the last value is the latest tracked; a range is of numbers."""
    store.attempt(number=2)
    store.observe("loss", 0.9, step=5)
    store.observe("note", "warm")
    store.observe("loss", 3, step=1, attempt=2)
    store.observe("loss", math.nan, step=2, attempt=2)
    store.observe("flag", True)

    (task,) = summarise(store.home, "r").tasks
    assert (task.path, [attempt.number for attempt in task.attempts]) == (("train",), [1, 2])
    loss, note, flag = task.series
    assert (
        loss.key,
        loss.count,
        loss.last_step,
        loss.minimum,
        loss.maximum,
    ) == ("loss", 3, 2, 0.9, 3)
    assert math.isnan(loss.last_value)
    assert (note.key, note.last_value, note.minimum) == ("note", "warm", None)
    assert (flag.last_value, flag.minimum, flag.maximum) == (True, None, None)


def test_a_summary_keeps_runs_and_tasks_apart(store: _Store) -> None:
    """The same key in another task, or in another run, is another series."""
    store.task("eval", task_no=1)
    store.run("other", 2)
    store.task("train", run_no=2)
    store.observe("loss", 1)
    store.observe("loss", 2, task_no=1)
    for step in range(5):
        store.observe("loss", 3, step, run_no=2)

    found = {task.path: task.series[0].last_value for task in summarise(store.home, "r").tasks}
    assert found == {("train",): 1, ("eval",): 2}
    assert store.metrics() == {"loss": 1}
