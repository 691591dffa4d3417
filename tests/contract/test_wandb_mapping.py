"""What becomes of a run in W&B's files, as W&B's own reader sees them."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from steplogd.delivery.contract import ReachableSession, ReadableSession, Unavailable
from steplogd.delivery.secrets import without_secrets
from steplogd.delivery.wandb import WandbBackend, WandbOptions
from tests.conftest import run_program
from tests.contract.trackers import expected_numbers, make_batch, make_run
from tests.contract.wandb_store import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.wandb_store import WandbStore


TASK = """
    import json, sys
    from concurrent.futures import ThreadPoolExecutor
    from steplogd.delivery.wandb_client import client_context

    def work(number):
        with client_context(json.loads(sys.argv[1])) as client:
            client.log({"mine": number})
            return client.id

    with ThreadPoolExecutor(3) as threads:
        print(*threads.map(work, range(3)), sep="\\n")
"""
"""A task's process, in which three threads ask for W&B's run."""


def test_each_column_has_the_tasks_own_step_as_its_axis(wandb_store: WandbStore) -> None:
    """In any order and below zero; W&B's own step is the position in the run log."""
    run = make_run()
    steps = [3, -7, 0, 2**63 - 1, 3]
    seen = make_batch([0.5] * len(steps), key="loss.x")
    batch = [msgspec.structs.replace(x, step=s) for x, s in zip(seen, steps, strict=True)]

    wandb_store.backend().open(run).send(batch)

    (log,) = wandb_store.logs(run.run_id)
    axes = {m["name"]: m.get("step_metric") for m in inspect(log, "metric")}
    assert axes == {"steplog/step": None, r"loss\.x": "steplog/step"}
    rows = wandb_store.rows(run.run_id)
    assert steps == [row["steplog/step"] for row in rows]
    assert [1, 2, 3, 4, 5] == [row["_step"] for row in rows]


def test_what_one_line_tracked_is_one_row(wandb_store: WandbStore) -> None:
    """Another step, or the same key again, begins the next."""
    run = make_run()
    plain = make_batch([1.0, 2.0, 3.0, 4.0])
    keys, steps = ["a", "b", "a", "b"], [7, 7, 7, 8]
    batch = [
        msgspec.structs.replace(seen, key=key, step=step, ts=5)
        for seen, key, step in zip(plain, keys, steps, strict=True)
    ]

    wandb_store.backend().open(run).send(batch)

    own = {"_runtime", "_step", "_timestamp", "steplog/step"}
    rows = wandb_store.rows(run.run_id)
    found = [{name: row[name] for name in row.keys() - own} for row in rows]
    assert [{"a": 1, "b": 2}, {"a": 3}, {"b": 4}] == found
    assert [2, 3, 4] == [row["_step"] for row in rows]


def test_what_w_and_b_cannot_hold_is_exact_beside(wandb_store: WandbStore) -> None:
    """The column itself has the nearest double, or the text with a mark for what is no text."""
    run = make_run()

    wandb_store.backend().open(run).send(make_batch([2**53 + 1, "\ud800", [math.nan], 10**400]))

    rows = wandb_store.rows(run.run_id)
    assert [2**53, "\\ud800", '["NaN"]', "Infinity"] == [row["loss"] for row in rows]
    assert [row["steplog/whole/loss"] for row in rows] == [
        '{"value":9007199254740993}',
        '{"value":"\\ud800"}',
        '{"value":[{"$float":"NaN"}]}',
        f'{{"value":{10**400}}}',
    ]


def test_a_replay_in_other_cuts_writes_no_row_twice(wandb_store: WandbStore) -> None:
    """Neither to the same file nor, after a restart, to the next."""
    run = make_run()
    batch = make_batch(range(300))
    session = wandb_store.backend().open(run)

    session.send(batch[:100])
    session.send(batch[50:200])
    wandb_store.backend().open(run).send(batch)

    assert list(range(1, 301)) == wandb_store.positions(run.run_id)
    assert len(wandb_store.logs(run.run_id)) == 2


def test_nothing_is_written_for_a_run_that_has_it_all(wandb_store: WandbStore) -> None:
    """A replay leaves no empty folder behind."""
    run = make_run()
    batch = make_batch([0.5, 1.5])
    wandb_store.backend().open(run).send(batch)

    wandb_store.backend().open(run).send(batch)

    assert len(wandb_store.logs(run.run_id)) == 1


def test_a_long_file_is_searched_back_to_its_last_row(wandb_store: WandbStore) -> None:
    """Behind it stands more than is read at first."""
    run = make_run()
    batch = make_batch([0.5])
    long = make_run(run.run_id, parameters={"text": "x" * 1_000_000})
    session = wandb_store.backend().open(run)
    session.send(batch)
    session.settle(long)

    wandb_store.backend().open(run).send(batch)

    assert [1] == wandb_store.positions(run.run_id)


def test_runs_in_parallel_do_not_mix(wandb_store: WandbStore) -> None:
    """In one child, and over several batches each."""
    backend = wandb_store.backend()
    runs = [make_run() for _ in range(4)]

    def work(number: int) -> None:
        session = backend.open(runs[number])
        for first in (1, 101, 201):
            session.send(make_batch([number + 0.5] * 100, first=first))
        session.settle(make_run(runs[number].run_id, status="SUCCESS", end_ts=9))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))

    for number, run in enumerate(runs):
        rows = wandb_store.rows(run.run_id)
        assert Counter({number + 0.5: 300}) == Counter(map(itemgetter("loss"), rows))


@pytest.mark.parametrize("tag", ["a/b {}", "{}" + "t" * 200, ""])
def test_the_tag_is_the_project_where_the_run_stays(wandb_store: WandbStore, tag: str) -> None:
    """Also when it becomes known too late; what W&B refuses in a name is escaped."""
    run = make_run()
    tag = tag.format(run.run_id[-6:])
    wandb_store.backend().open(make_run(run.run_id, tag=tag)).send(make_batch([1.0]))

    late = wandb_store.backend().open(make_run(run.run_id, tag="other"))
    late.send(make_batch([2.0], first=2))

    projects = {inspect(log, "run")[0]["project"] for log in wandb_store.logs(run.run_id)}
    (project,) = projects
    assert project.startswith(tag.replace("/", "_x2F_")[:80] or "steplog")
    assert late.counterpart["project"] == project


def test_what_is_held_is_what_is_expected(wandb_store: WandbStore) -> None:
    """Point by point, over several folders; `steplogd verify` compares them."""
    run = make_run()
    values = [1, 0.1, -0.0, 2**60 + 1, 1e17, 1e22, True, None, "x", [1, {"a": None}], math.inf]
    parameters = {
        "lr": 0.1,
        "n": 2**70,
        "nan": math.nan,
        "_odd": {"x": [1, math.inf]},
        "": "\ud8ff",
    }
    batch = make_batch(values) + make_batch(["y"], key="_z", task=("a", "b"), first=12)
    ended = make_run(run.run_id, tag="t", status="FAIL", end_ts=5, parameters=parameters)
    wandb_store.backend().open(run).send(batch[:7])

    session = wandb_store.backend().open(run)
    session.send(batch)
    session.settle(ended)

    assert isinstance(session, ReadableSession)
    expected = [*session.expected(batch), *session.expected_state(ended)]
    assert Counter(expected) == Counter(session.held())


def test_the_exit_code_says_how_the_run_ended(wandb_store: WandbStore) -> None:
    """Killed is failed to W&B; the summary tells them apart, and why."""
    run = make_run()
    killed = make_run(run.run_id, status="FAIL", killed=True, message="no more", end_ts=5)

    wandb_store.backend().open(run).settle(killed)

    (log,) = wandb_store.logs(run.run_id)
    (end,) = inspect(log, "exit")
    summary = inspect(log, "summary")
    assert end["exit_code"] == 1
    assert {"steplog.status": "KILLED", "steplog.message": "no more"}.items() <= {
        name: value for each in summary for name, value in each["update"].items()
    }.items()


def test_a_client_in_a_task_writes_beside_the_daemon(wandb_store: WandbStore) -> None:
    """From several threads, to a folder of its own that the daemon does not take for its."""
    run = make_run()
    session = wandb_store.backend().open(run)
    session.send(make_batch([1.0]))
    assert isinstance(session, ReachableSession)
    counterpart = dict(session.counterpart)

    done = run_program(TASK, json.dumps(counterpart), WANDB_ERROR_REPORTING="false")
    wandb_store.backend().open(run).send(make_batch([1.0, 2.0]))

    assert done.stdout == f"{run.run_id}\n" * 3, done.stderr
    assert expected_numbers(make_batch([1.0, 2.0])) == wandb_store.read(run.run_id).numbers
    folder = Path(counterpart["directory"], "tasks", "wandb")
    logs = folder.glob(f"offline-run-*/run-{run.run_id}.wandb")
    rows = [row["item"] for log in logs for row in inspect(log, "history")]
    assert {0, 1, 2} == {row["mine"] for row in rows}


def test_a_key_has_no_place_in_the_configuration() -> None:
    """The sentence says where it goes, and does not repeat it."""
    with pytest.raises(ValueError, match="set WANDB_API_KEY for the daemon") as refusal:
        WandbOptions(api_key="s3cret")

    assert "s3cret" not in str(refusal.value)


def test_without_a_key_the_run_waits_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is contacted, and the sentence says what to do."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    options = WandbOptions(mode="online", base_url="http://127.0.0.1:9")
    backend = WandbBackend(options, tmp_path)

    with pytest.raises(Unavailable, match="set WANDB_API_KEY for the daemon, or run `wandb login`"):
        backend.open(make_run())
    backend.close()


def test_the_key_comes_from_its_file_whenever_the_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the server, and into no error; the file is named by a variable, and may change."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    keys = ("a" * 40, "b" * 40)
    with listening() as (url, sent):
        options = WandbOptions(
            mode="online", base_url=url, key_file="$CREDENTIALS_DIRECTORY/wandb-api-key"
        )
        backend = WandbBackend(options, tmp_path)
        for key in keys:
            (tmp_path / "wandb-api-key").write_text(f"{key}\n")
            with pytest.raises(Unavailable) as refusal:
                backend.open(make_run())
            assert key not in without_secrets(str(refusal.value))
        backend.close()

    told = [base64.b64encode(f"api:{key}".encode()).decode() for key in keys]
    assert [f"Basic {one}" in sent for one in told] == [True, True]


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read: No such file"), ("", "holds no key"), ("a b", "holds no key")],
)
def test_a_key_file_without_a_key_is_waited_for(
    tmp_path: Path, content: str | None, says: str
) -> None:
    """It may come later: nothing is refused for good."""
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    backend = WandbBackend(WandbOptions(mode="online", key_file=str(file)), tmp_path)

    with pytest.raises(Unavailable, match=f"the key_file {file} {says}"):
        backend.open(make_run())


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, set[str]]]:
    """Give a server that lets nobody in, and what it was shown."""
    shown: set[str] = set()

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            shown.add(self.headers.get("Authorization", ""))
            self.send_error(401)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", shown
        finally:
            server.shutdown()
            thread.join()
