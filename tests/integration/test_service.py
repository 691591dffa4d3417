"""The service as a whole, in this process: what is emitted gets through, whatever else happens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread
from blockbuster import BlockingError

import steplog
from steplogd.store.cursors import Cursors
from tests.conftest import wait_until
from tests.daemon import configure, document, rows, serving, steplogd
from tests.guard import RULES
from tests.lines import Scribe, append, line
from tests.served import MEMORY, arrived, drain, started, tracker, until

if TYPE_CHECKING:
    from steplogd.delivery.memory import Call

pytestmark = RULES


async def test_what_a_task_emits_becomes_visible(home: Path) -> None:
    """In the run log, and at the backend."""
    async with started(home, MEMORY):
        with steplog.start_run("r") as run:
            run.track_this(loss=0.5)
            await until(lambda: rows(home, "SELECT value FROM observation") == [(0.5,)])
            await until(lambda: arrived(home) == [1])


async def test_what_is_appended_while_it_serves_is_folded(home: Path) -> None:
    """As often as it comes, into old runs and new ones."""
    a = Scribe()
    async with started(home):
        for count in (1, 2, 3):
            append(home, "r", a.track())
            append(home, f"new{count}", line("track", values={"x": 1}))
            total = 2 * count
            await until(lambda n=total: rows(home, "SELECT sum(position) FROM run") == [(n,)])  # type: ignore[misc]


async def test_a_run_that_all_left_gets_its_document(home: Path) -> None:
    """And another one when somebody joined it again."""
    async with started(home):
        for loss in (0.5, 0.25):
            with steplog.start_run("r") as run:
                run.track_this(loss=loss)
            await until(lambda v=loss: metrics(home) == {"loss": v})  # type: ignore[misc]


async def test_a_line_after_the_end_of_a_run_gets_into_its_document(home: Path) -> None:
    """A visitor's, which opens nothing."""
    a = Scribe()
    append(home, "r", a.line("join"), a.line("leave"))
    async with started(home):
        await until((home / "runs" / "r.json").exists)
        append(home, "r", line("track", values={"late": 1}))

        await until(lambda: metrics(home) == {"late": 1})


async def test_a_document_that_could_not_be_written_is_written_later(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no other run ends."""
    monkeypatch.setattr("steplogd.document_stage._RETRY_SECONDS", 0.05)
    a = Scribe()
    append(home, "r", a.line("join"), a.line("leave"))
    (home / "runs" / "r.json").mkdir(parents=True)
    async with started(home) as service:
        await until(lambda: bool(service._documents.unwritten))

        (home / "runs" / "r.json").rmdir()
        await until((home / "runs" / "r.json").is_file)


async def test_a_folder_that_was_deleted_and_made_again_is_followed(home: Path) -> None:
    """By the watch, or else by the sweep."""
    async with started(home):
        shutil.rmtree(home / "spool")
        append(home, "r", line("track", values={"x": 1}))

        await until(lambda: rows(home, "SELECT position FROM run") == [(1,)])


async def test_a_kernel_without_notifications_is_done_without(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By looking often."""

    def refuse(*_: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("steplogd.folding.follow.watch", refuse)
    async with started(home):
        append(home, "r", line("track", values={"x": 1}))

        await until(lambda: rows(home, "SELECT position FROM run") == [(1,)])


def metrics(home: Path, run_id: str = "r") -> Any:
    """Return what a run's document says of its only task; None without a document."""
    try:
        steps = document(home, run_id)["steps"]
    except FileNotFoundError:
        return None
    return next((step["user_defined_metrics"] for step in steps.values()), None)


async def test_500_spools_of_1000_points_arrive_once_each(home: Path) -> None:
    """In one drain."""
    for number in range(500):
        w = f"{number}"
        lines = [
            b'{"t":"track","w":"%s","n":%d,"ts":1,"step":%d,"values":{"x":%d}}\n'
            % (w.encode(), step, step, step)
            for step in range(1000)
        ]
        append(home, f"r{number}", *lines)

    await drain(home)

    assert rows(home, "SELECT count(*), sum(position) FROM run") == [(500, 500_000)]
    assert rows(home, "SELECT count(*) FROM observation") == [(500_000,)]
    runs = tracker(home).runs.values()
    assert {run.received for run in runs} == {1000}
    assert {tuple(seen.value for seen in run.observations.values()) for run in runs} == {
        tuple(range(1000))
    }


async def test_a_drain_ends_beside_a_run_that_goes_on(home: Path) -> None:
    """What comes meanwhile is not waited for."""
    a = Scribe()

    def go_on(call: Call) -> None:
        if call.method == "send":  # for each batch that arrives, the task writes as much again
            append(home, "r", *[a.track() for _ in call.batch])

    append(home, "r", *[a.track() for _ in range(100)])
    tracker(home).fault = go_on

    await drain(home)

    assert list(range(1, 101)) == arrived(home)[:100]


async def test_a_short_run_does_not_wait_for_a_long_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the long one would fill every pass by itself."""
    monkeypatch.setattr("steplogd.folding.line.PASS_BYTES", 1)
    folded_of_long: list[int] = []

    def look(call: Call) -> None:
        if call.method == "open" and call.run.run_id == "short":
            folded_of_long.extend(rows(home, "SELECT position FROM run WHERE run_id = 'long'")[0])

    tracker(home).fault = look
    tracks = [b'{"t":"track","w":"a","n":%d,"values":{"x":1}}\n' % n for n in range(200_000)]
    append(home, "long", *tracks)
    append(home, "short", line("track", values={"x": 1}))

    await drain(home)

    assert len(arrived(home, "long")) == 200_000
    assert folded_of_long[0] < 150_000


def test_the_log_is_one_json_object_a_line(home: Path) -> None:
    """Where it goes to no terminal; no line for an event."""
    a = Scribe()
    append(home, "r", a.line("join"), *[a.track() for _ in range(100)], a.line("leave"))
    with serving(home, "--config", configure(home)):
        wait_until((home / "runs" / "r.json").exists)

    lines = (home.parent / f"{home.name}.log").read_text().splitlines()
    events = [json.loads(told)["event"] for told in lines]
    assert events == ["serving", "run begun", "run ended", "stopped"]


def test_a_drain_gives_up_when_its_time_is_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 75, and one sentence on who is behind."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "third_party"))
    append(home, "r", Scribe().track())
    config = configure(home, '[[backend]]\ntype = "file"\nhangs = true\n')

    told = steplogd("drain", "--timeout", "0.5", "--config", config)

    assert told.returncode == 75
    assert "file is still behind by 1 observation of 1 run" in told.stderr


async def test_a_call_that_blocks_the_loop_fails_the_test(home: Path) -> None:
    """Here, the service is made to look into the store without a thread."""
    async with started(home) as service:
        with pytest.raises(BlockingError):
            service._line.spools.sizes()


async def test_a_thread_may_block(home: Path) -> None:
    """That is what it is for."""
    async with started(home) as service:
        assert await to_thread.run_sync(service._line.spools.sizes) == {}


async def test_the_store_is_never_used_in_the_loop(home: Path) -> None:
    """Nor are its cursors."""
    async with started(home) as service:
        with pytest.raises(BlockingError):
            Cursors(service._database).behind("x")  # type: ignore[arg-type]
