"""From spools to committed run logs, a pass at a time; the clock is the tests' to turn."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from steplog.home import spool_folder
from steplogd.core.fold import Fold
from steplogd.folding import line as line_module
from steplogd.intake.tail import CHUNK_BYTES
from steplogd.store.database import StoreError
from tests.bench import GRACE_SECONDS, Bench
from tests.lines import Scribe, append, line


def test_what_is_appended_is_committed_with_its_checkpoint(bench: Bench) -> None:
    """And a restart folds nothing twice."""
    a = Scribe()
    append(bench.home, "r", a.track(loss=1.0))
    bench.fold()
    append(bench.home, "r", a.track(loss=2.0))
    bench.restart()

    bench.fold()

    assert bench.values() == [1.0, 2.0]
    assert bench.run()["repeated"] == 0


def test_a_pass_tells_which_runs_grew(bench: Bench) -> None:
    """And whether one of them had ended before."""
    append(bench.home, "r", Scribe().track())

    first = bench.line.run(["r", "absent"])
    bench.wall_now = 10**12
    bench.check_ends()
    append(bench.home, "r", line("track", values={"x": 1}))
    second = bench.line.run(["r"])

    assert (first.advanced, first.late) == ({1}, False)
    assert (second.advanced, second.late) == ({1}, True)


def test_a_long_spool_does_not_hold_up_short_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pass takes a piece of it; runs that had no turn come first next time."""
    monkeypatch.setattr(line_module, "PASS_BYTES", 1)
    long, short = line("track", values={"x": "y" * 200_000}), line("track", values={"x": 1})
    append(bench.home, "long", *[long] * 10)
    for run_id in ("s1", "s2"):
        append(bench.home, run_id, short)

    first = bench.line.run(["long", "s1", "s2"])
    second = bench.line.run(["s1", "s2", "long"])

    assert first == msgspec.structs.replace(
        first, advanced={1}, skipped=["s1", "s2"], unfinished=["long"]
    )
    assert second.advanced == {2}
    assert second.skipped == ["s2", "long"]


def test_a_run_whose_spool_was_deleted_ends(bench: Bench) -> None:
    """What was folded stays."""
    a = Scribe()
    append(bench.home, "r", a.line("join"), a.track(loss=0.5)).unlink()
    append(bench.home, "r", a.line("join"), a.track(loss=0.5))
    bench.fold()
    (spool_folder(bench.home) / "r.jsonl").unlink()

    ends = [bench.check_ends(), bench.check_ends(GRACE_SECONDS)]

    assert ends == [False, True]
    assert bench.values() == [0.5]


def test_what_is_no_regular_file_is_no_spool(bench: Bench) -> None:
    """A folder, a pipe and a link cost nothing, and nothing else."""
    folder = spool_folder(bench.home)
    append(bench.home, "good", line("track", values={"x": 1}))
    (folder / "folder.jsonl").mkdir()
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "link.jsonl").symlink_to(folder / "good.jsonl")
    (folder / ".hidden.jsonl").write_bytes(line("track", values={"x": 1}))

    bench.line.run(["folder", "pipe", "link", "good"])

    assert bench.values("good") == [1]
    assert set(bench.line.spools.unreadable()) == {"folder", "pipe", "link"}
    assert bench.line.spools.grown() == []


def test_a_line_without_end_costs_no_memory_and_no_neighbour(bench: Bench) -> None:
    """It is passed over piece by piece, and what follows its LF is folded."""
    good = line("track", values={"x": 1})
    append(bench.home, "r", good, b"x" * (3 * CHUNK_BYTES))
    bench.fold()
    passed_over = bench.run()["malformed"]
    append(bench.home, "r", b"\n", good)

    bench.fold()

    assert bench.values() == [1, 1]
    assert passed_over >= 3
    assert bench.line.spools.backlog_bytes() == 0


def test_a_good_line_glued_to_an_endless_one_is_recovered(bench: Bench) -> None:
    """Wherever the reading was cut."""
    good = line("track", values={"x": "y" * 200_000})
    append(bench.home, "r", b'{"t":"track' + b"x" * (2 * CHUNK_BYTES), good)

    bench.fold()

    assert len(bench.values()) == 1


def test_blank_lines_and_garbage_make_no_values(bench: Bench) -> None:
    """They are read once."""
    append(bench.home, "blank", b"\n\n \n")
    append(bench.home, "garbage", b"\xff\xfe\n", b"[" * 100_000 + b"\n")

    passes = bench.fold()

    assert passes == 1
    assert bench.run("blank")["malformed"] == 0
    assert bench.run("garbage")["malformed"] == 2


HOSTILE = [
    b'{"t":"leave","w":"a","status":"\\ud800"}\n',
    b'{"t":"lost","w":"a","n":9223372036854775807,"count":9223372036854775807}\n',
    b'{"t":"zzz","w":"a","n":99999999999999999999999,"ts":99999999999999999999999}\n',
    b'{"t":"track","w":"\\ud800","n":0,"task":"\\udfff","values":{"\\ud800":"\\udfff"}}\n',
    b'{"t":"join","tag":"\\ud800","parameters":{"\\ud800":"\\ud800"},"config":{"a":"\\ud800"}}\n',
    b'{"t":"catalog","name":"\\ud800","data_hash":"\\ud800"}\n',
    b'{"t":"code","code_identifier":"\\ud800"}\n',
    b'{"t":"end","task":["a","\\ud800"],"status":"FAIL","message":"\\ud800"}\n',
    b'{"t":"start","task":[],"parameters":{"a":1}}\n',
    b'{"t":"track","step":9223372036854775808,"values":{"x":1}}\n',
    b'{"t":"track","ts":253402300800000000,"values":{"x":1}}\n',
    b'{"t":"track","values":{"x":"a\\u0000b","":1}}\n',
    b'{"t":"open","w":"a","of":"b"}\n{"t":"open","w":"b","of":"a"}\n{"t":"join","w":"a"}\n',
    b'{"t":"' * 1000 + b"\n",
    b'"' * 10_000 + b"\n",
    b"NaN\n",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_line_costs_itself_alone(bench: Bench, hostile: bytes) -> None:
    """Before and after a restart."""
    append(bench.home, "r", line("track", values={"first": 1}), hostile)
    bench.fold()
    bench.restart()
    append(bench.home, "r", line("track", values={"last": 1}))

    bench.fold()
    bench.wall_now = 10**12
    bench.check_ends()
    bench.check_ends(GRACE_SECONDS)

    assert bench.line.spools.unreadable() == {}
    assert bench.values()[:1] == bench.values()[-1:] == [1]
    assert bench.run()["status"] != "PROCESSING"


def test_a_commit_that_fails_is_made_again(bench: Bench) -> None:
    """Nothing is lost, nothing comes twice, and the grace period goes on."""
    a = Scribe()
    append(bench.home, "r", a.line("join"), a.line("leave"))
    bench.fold()
    bench.check_ends()
    append(bench.home, "r", a.track(loss=0.5), a.line("zzz"))
    append(bench.home, "new", a.track(loss=0.25))
    bench.database._writer.execute("PRAGMA query_only = ON")

    with pytest.raises(StoreError, match="readonly"):
        bench.line.run(["r", "new"])
    bench.database._writer.execute("PRAGMA query_only = OFF")
    bench.fold()

    assert (bench.values(), bench.values("new")) == ([0.5], [0.25])
    assert bench.run()["unknown"] == 1
    assert bench.check_ends(GRACE_SECONDS)


def test_an_end_that_cannot_be_committed_is_committed_later(bench: Bench) -> None:
    """Without another grace period."""
    a = Scribe()
    append(bench.home, "r", a.line("join"), a.line("leave"))
    bench.fold()
    bench.check_ends()
    bench.database._writer.execute("PRAGMA query_only = ON")

    with pytest.raises(StoreError):
        bench.check_ends(GRACE_SECONDS)
    bench.database._writer.execute("PRAGMA query_only = OFF")

    assert bench.check_ends()
    assert bench.run()["revision"] == 2


def test_a_defect_of_ours_costs_one_run_and_not_the_daemon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are folded, and it is tried again."""
    honest = Fold.apply

    def apply(self: Fold, events: Any, arrived_ts: int) -> None:
        honest(self, events, arrived_ts)
        if self.state.run_id == "bad":
            raise OverflowError("too large")

    for run_id in ("a", "bad", "z"):
        append(bench.home, run_id, line("track", values={"x": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(Fold, "apply", apply)
        done = bench.line.run(["a", "bad", "z"])
    refused = bench.line.spools.unreadable()
    bench.fold()

    assert len(done.advanced) == 2
    assert "OverflowError" in refused["bad"]
    assert bench.line.spools.unreadable() == {}
    assert [bench.values(run_id) for run_id in ("a", "bad", "z")] == [[1], [1], [1]]


def test_a_defect_holds_the_line_for_no_longer_than_a_pass(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many runs are folded by themselves for it: the others come next."""
    names = ["bad", "b", "c"]
    for run_id in names:
        append(bench.home, run_id, line("track", values={"x": 1}))
    seconds = [0.0, 0.0]

    def apply(*_: object) -> None:
        if seconds:
            seconds.pop()
        raise OverflowError("too large")

    with monkeypatch.context() as patch:
        clock = SimpleNamespace(monotonic=lambda: seconds[0] if seconds else math.inf)
        patch.setattr(line_module, "time", clock)
        patch.setattr(Fold, "apply", apply)
        done = bench.line.run(names)

    assert done.skipped == ["b", "c"]
    assert list(bench.line.spools.unreadable()) == ["bad"]


def test_a_run_with_very_many_writers_is_folded(bench: Bench) -> None:
    """Ten thousand processes, one line each."""
    lines = [line("track", w=f"{w}", n=0, values={"x": w}) for w in range(10_000)]
    append(bench.home, "r", *lines)
    bench.fold()
    bench.restart()
    append(bench.home, "r", *lines)

    bench.fold()

    assert bench.run()["position"] == bench.run()["repeated"] == 10_000


def test_what_waits_for_its_end_is_told(bench: Bench) -> None:
    """A drain waits for it, and for no run that goes on."""
    append(bench.home, "visited", line("track", values={"x": 1}))
    append(bench.home, "left", line("join"), line("leave"))
    bench.fold()

    bench.check_ends()

    assert bench.line.leaving() == {"left"}
    assert bench.line.open_count() == 2


def test_a_drain_waits_for_what_was_there_and_not_for_what_comes(bench: Bench) -> None:
    """Else it would never end beside a training that goes on."""
    append(bench.home, "r", line("track", values={"x": 1}))
    sizes = bench.line.spools.sizes()
    before = bench.line.spools.unfolded(sizes)
    bench.fold()

    append(bench.home, "r", line("track", values={"x": 1}))

    assert before == ["r"]
    assert bench.line.spools.unfolded(sizes) == []
    assert bench.line.spools.grown() == ["r"]


@pytest.mark.parametrize("kind", ["keys", "writers", "tasks", "parameters", "attempts"])
def test_a_spool_that_names_ever_more_takes_no_memory_from_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It fails and is let be, which is said; what was folded of it stays."""
    monkeypatch.setattr(line_module, "MOST_WEIGHT_BYTES", 10_000)
    names = {
        "keys": lambda n: line("track", values={f"{n}": n}),
        "writers": lambda n: line("track", w=f"{n}", n=0, values={"x": n}),
        "tasks": lambda n: line("track", task=f"{n}", values={"x": n}),
        "parameters": lambda n: line("join", w="a", n=n, parameters={f"{n}": "x" * 50}),
        "attempts": lambda n: line("start", w="a", n=n, parameters={f"{n}": "x" * 50}),
    }
    for start in (0, 1_000, 2_000):
        append(bench.home, "r", *[names[kind](start + n) for n in range(1_000)])
        append(bench.home, "good", line("track", values={"x": start}))
        bench.line.run(["r", "good"])
    bench.check_ends()

    assert "more keys, tasks, writers and parameters" in bench.line.spools.unreadable()["r"]
    assert bench.line.spools.read_to("r") < len(bench.line.spools.path("r").read_bytes()) / 2
    assert (bench.run()["status"], bench.run()["message"][:14]) == ("FAIL", "it names more ")
    assert bench.values("good") == [0, 1_000, 2_000]
    assert bench.line.open_count() == 1
