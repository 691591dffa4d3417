"""Runs: their ids, tags and environment, nested, one after another, and in threads."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

import steplog
from steplog.events import Join, Leave, Lost
from tests.conftest import events, run_program, spools, tracked

if TYPE_CHECKING:
    from pathlib import Path


def joined(home: Path, run_id: str | None = None) -> Join:
    """Return what a run's only member said when it joined."""
    (join,) = [event for event in events(home, run_id) if isinstance(event, Join)]
    return join


@pytest.mark.parametrize(
    ("names", "run_id"),
    [
        (["STEPLOG_RUN_ID", "RUNNABLE_RUN_ID", "runnable_RUN_ID"], "STEPLOG_RUN_ID"),
        (["RUNNABLE_RUN_ID", "runnable_RUN_ID"], "RUNNABLE_RUN_ID"),
        (["runnable_RUN_ID"], "runnable_RUN_ID"),
    ],
)
def test_environment_names_the_run(home: Path, names: list[str], run_id: str) -> None:
    """A process that starts no run is in the one that the environment names, the first of three."""
    run_program("import steplog; steplog.track_this(a=1)", **{name: name for name in names})

    assert spools(home) == [run_id]


def test_empty_name_is_none(home: Path) -> None:
    """A variable that is set to nothing names nothing."""
    run_program("import steplog; steplog.track_this(a=1)", STEPLOG_RUN_ID="", RUNNABLE_RUN_ID="r")

    assert spools(home) == ["r"]


@pytest.mark.parametrize("call", ["steplog.track_this(a=1)", "steplog.start_run()"])
def test_bad_name_in_the_environment_costs_nothing(home: Path, call: str) -> None:
    """An id that cannot be is warned of, and the run gets another one."""
    done = run_program(f"import steplog; {call}; steplog.track_this(b=2)", STEPLOG_RUN_ID="../up")

    assert done.returncode == 0
    assert "'../up' cannot be a run id" in done.stderr
    assert len(spools(home)) == 1
    assert tracked(home)[-1].values == {"b": 2}


def test_bad_name_in_a_call_is_refused(home: Path) -> None:
    """An id that cannot be is the caller's mistake, and starts nothing."""
    with pytest.raises(steplog.InvalidName):
        steplog.start_run("../up")

    assert not home.exists()


def test_task_and_tag_come_from_the_environment(home: Path) -> None:
    """A pipeline names task and tag for a program that does not."""
    run_program(
        "import steplog; steplog.track_this(a=1)", STEPLOG_TASK="train", STEPLOG_TAG="nightly"
    )

    assert joined(home).tag == "nightly"
    assert [event.task for event in tracked(home)] == ["train"]


def test_arguments_go_before_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the call says wins."""
    monkeypatch.setenv("STEPLOG_RUN_ID", "other")
    monkeypatch.setenv("STEPLOG_TAG", "other")
    with steplog.start_run("r", tag="mine"):
        pass

    assert spools(home) == ["r"]
    assert joined(home).tag == "mine"


def test_run_says_with_what_it_was_started(home: Path) -> None:
    """Parameters, variables and the command line stand in the run's first lines."""
    run_program(
        """
        import steplog
        with steplog.start_run("r", parameters={"rate": 0.1, "layers": [64, 32]}): pass
        """,
        "--fast",
        STEPLOG_VAR_region="eu",
        RUNNABLE_VAR_huge="x" * 100_000,
    )

    assert joined(home).parameters == {"rate": 0.1, "layers": [64, 32]}
    assert joined(home).config["command"] == ["-c", "--fast"]
    assert joined(home).config["variables"] == {"region": "eu"}


class Ambiguous(list[float]):
    """Raises when it is asked whether it is true, as arrays do."""

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


@pytest.mark.parametrize("parameters", [[1], 5, "text", Ambiguous([1.0])])
def test_parameters_that_are_none_cost_themselves_alone(home: Path, parameters: Any) -> None:
    """The run starts without them, and says that something was lost; raised only if asked for."""
    with steplog.start_run("r", parameters=parameters):
        steplog.track_this(a=1)

    assert (joined(home).parameters, len(tracked(home))) == ({}, 1)
    assert [event.count for event in events(home) if isinstance(event, Lost)] == [1]
    steplog.configure(strict=True)
    with pytest.raises(steplog.TrackingError):
        steplog.start_run("r", parameters=parameters)


@pytest.mark.parametrize("tag", [2026, "t" * 10_000, "\udc80", None])
def test_odd_tag_does_not_stop_the_run(home: Path, tag: Any) -> None:
    """Whatever is passed as a tag becomes text of a bounded length."""
    with steplog.start_run("r", tag=tag):
        steplog.track_this(a=1)

    assert joined(home).tag == ("" if tag is None else str(tag)[:4000])
    assert len(tracked(home)) == 1


def test_tag_that_is_refused_leaves_no_spool_behind(home: Path) -> None:
    """Where errors are asked for: else it would be open, and locked, until the process ends."""
    steplog.configure(strict=True)
    with pytest.raises(steplog.TrackingError, match="tag is cut"):
        steplog.start_run("r", tag="t" * 10_000)

    assert spools(home) == []


def test_block_is_the_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the block it is the current run, for this process and its children; not after it."""
    monkeypatch.setenv("STEPLOG_RUN_ID", "outside")
    with steplog.start_run("r") as run:
        assert steplog.get_run_id() == run.run_id == os.environ["STEPLOG_RUN_ID"] == "r"

    assert os.environ["STEPLOG_RUN_ID"] == "outside"
    assert [(e.status, e.message) for e in events(home) if isinstance(e, Leave)] == [
        ("SUCCESS", "")
    ]


def test_exception_that_leaves_the_block_fails_the_run(home: Path) -> None:
    """The run says what went wrong, and the exception goes on."""
    with pytest.raises(KeyError), steplog.start_run("r"):
        raise KeyError("x")

    assert [(e.status, e.message) for e in events(home) if isinstance(e, Leave)] == [
        ("FAIL", "KeyError: 'x'")
    ]


def test_runs_one_after_another_are_different(home: Path) -> None:
    """A run that ended leaves nothing behind that the next one would be taken for."""
    for _ in range(3):
        with steplog.start_run():
            steplog.track_this(a=1)

    assert len(spools(home)) == 3
    assert "STEPLOG_RUN_ID" not in os.environ


def test_nested_runs_are_current_from_the_innermost_out(home: Path) -> None:
    """The innermost run is current; when it ends, the one around it is again."""
    with steplog.start_run("outer"):
        with steplog.start_run("inner"):
            steplog.track_this(at="inner")
        steplog.track_this(at="outer")
        assert os.environ["STEPLOG_RUN_ID"] == "outer"

    assert [event.values for event in tracked(home, "inner")] == [{"at": "inner"}]
    assert [event.values for event in tracked(home, "outer")] == [{"at": "outer"}]


def test_nested_run_without_a_name_is_another_run(home: Path) -> None:
    """What a run told its children does not name the run that it starts itself."""
    with steplog.start_run("outer"), steplog.start_run() as inner:
        pass

    assert inner.run_id != "outer"
    assert len(spools(home)) == 2


def test_runs_that_end_in_any_order_restore_the_environment(home: Path) -> None:
    """However runs overlap, children never find one that has ended."""
    first, second = steplog.start_run("first"), steplog.start_run("second")
    first.end()
    assert os.environ["STEPLOG_RUN_ID"] == "second"
    second.end()

    assert "STEPLOG_RUN_ID" not in os.environ
    assert spools(home) == ["first", "second"]


def test_threads_have_runs_of_their_own(home: Path) -> None:
    """A thread that starts a run tracks into that, whatever others do meanwhile."""
    gate = threading.Barrier(4)

    def work(name: str) -> None:
        with steplog.start_run(name):
            gate.wait()
            steplog.track_this(at=name)
            gate.wait()

    threads = [threading.Thread(target=work, args=(f"r{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert spools(home) == ["r0", "r1", "r2", "r3"]
    assert [tracked(home, run)[0].values["at"] for run in spools(home)] == spools(home)
    assert "STEPLOG_RUN_ID" not in os.environ


def test_thread_without_a_run_is_in_that_of_the_process(home: Path) -> None:
    """A worker thread tracks where the main thread is."""
    with steplog.start_run("r"), steplog.task("load"):
        thread = threading.Thread(target=steplog.track_this, kwargs={"a": 1})
        thread.start()
        thread.join()

    assert [event.task for event in tracked(home)] == ["load"]


def test_ending_twice_says_it_once(home: Path) -> None:
    """Only the first end counts."""
    run = steplog.start_run("r")
    run.end("FAIL", "no data")
    run.end()

    assert [(e.status, e.message) for e in events(home) if isinstance(e, Leave)] == [
        ("FAIL", "no data")
    ]


def test_unknown_status_is_refused(home: Path) -> None:
    """A run ends as one of the two."""
    with steplog.start_run("r") as run, pytest.raises(ValueError, match="SUCCESS or FAIL"):
        run.end("DONE")

    assert len([event for event in events(home) if isinstance(event, Leave)]) == 1


def test_run_that_ended_can_be_joined_again(home: Path) -> None:
    """The same id joins the same run, as another writer."""
    for _ in range(2):
        with steplog.start_run("r"):
            pass

    assert len({event.w for event in events(home) if isinstance(event, Join)}) == 2


def test_run_object_tracks_into_its_own_run(home: Path) -> None:
    """What is tracked through a run goes there, whichever run is current."""
    with steplog.start_run("outer") as outer, steplog.start_run("inner"):
        outer.track_this(step=1, a=1)
        outer.track({"x/y": 2}, step=2)
        with outer.task("train"):
            outer.track_this(step=3, b=3)

    assert tracked(home, "inner") == []
    assert [(e.task, e.step) for e in tracked(home, "outer")] == [
        ("main", 1),
        ("main", 2),
        ("train", 3),
    ]


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_environment_asks_for_errors(
    home: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """`STEPLOG_STRICT` raises what would be counted, unless the program says otherwise."""
    monkeypatch.setenv("STEPLOG_STRICT", value)
    with steplog.start_run("r"):
        with pytest.raises(steplog.TrackingError):
            steplog.track_this(a=object())
        steplog.configure(strict=False)
        steplog.track_this(a=object())

    assert spools(home) == ["r"]


def test_run_that_cannot_start_leaves_nothing_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When starting a run raises, as was asked for, no run is current."""
    steplog.configure(strict=True)
    monkeypatch.setenv("STEPLOG_HOME", "/dev/null/home")
    with pytest.raises(steplog.TrackingError):
        steplog.start_run("broken")

    assert "STEPLOG_RUN_ID" not in os.environ
    monkeypatch.setenv("STEPLOG_HOME", str(home))
    with steplog.start_run() as run:
        assert run.run_id != "broken"


@pytest.mark.parametrize("values", [None, 5, "text"])
def test_what_is_no_mapping_is_counted(home: Path, values: Any) -> None:
    """A call with the wrong thing costs its event, and raises nothing."""
    with steplog.start_run("r") as run:
        steplog.track(values)
        run.track(values)
        steplog.track({"a": 1})

    assert [event.values for event in tracked(home)] == [{"a": 1}]
