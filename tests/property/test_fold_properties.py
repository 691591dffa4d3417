"""What holds of the fold for any spool, however it is cut, repeated, mixed or interrupted."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from steplog.decoding import decode
from steplogd.core.fold import Fold
from steplogd.core.state import RunState
from steplogd.store.database import Database
from steplogd.store.run_logs import FoldedRun, RunLogs
from tests.folding import fold_pieces, pieces
from tests.lines import ARRIVED_TS, line

WRITERS = ("a", "b", "c")
tasks = st.sampled_from(["train", "eval", ["train", "inner"]])
keys = st.sampled_from(["loss", "acc", "ü", "$float"])
statuses = st.sampled_from(["SUCCESS", "FAIL"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.sampled_from([{"$float": "NaN"}, {"$float": "-Infinity"}, {"a": [1, {}]}])
)
maps = st.dictionaries(keys, scalars, max_size=3)
values = st.dictionaries(keys, scalars, min_size=1, max_size=3)


def kind(named: str, /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return lines of one kind, as their fields."""
    return st.fixed_dictionaries({"kind": st.just(named), **fields})


tracks = kind("track", task=tasks, step=st.integers(-3, 3), values=values)
events = st.one_of(
    tracks,
    tracks,
    kind("open", of=st.sampled_from(["", *WRITERS]), worker=st.booleans()),
    kind("join", tag=st.sampled_from(["", "x", "y"]), parameters=maps, config=maps),
    kind("leave", status=statuses, message=st.sampled_from(["", "why"])),
    kind("start", task=tasks, parameters=maps),
    kind("start", task=tasks, step_type=st.sampled_from(["", "map"]), mock=st.booleans()),
    kind("end", task=tasks, status=statuses, message=st.sampled_from(["", "why"])),
    kind("lost", count=st.integers(0, 5)),
    kind("catalog", task=tasks, name=keys),
    kind("code", code_identifier=keys),
    kind("zzz"),
)
spoken = st.lists(st.tuples(st.sampled_from(WRITERS), events, st.integers(0, 9)), max_size=30)
noise = st.sampled_from([b"\n", b"garbage\n", b'{"t":"track","val\n', b'{"t":"tr'])


def write(said: list[tuple[str, dict[str, Any], int]]) -> list[bytes]:
    """Return the lines of what was said, numbered and dated; a 0 leaves a gap before its line."""
    next_n = dict.fromkeys(WRITERS, 0)
    lines = []
    for ts, (w, fields, gap) in enumerate(said, 1000):
        next_n[w] += gap == 0
        told = {name: value for name, value in fields.items() if name != "kind"}
        lines.append(line(fields["kind"], w=w, n=next_n[w], ts=ts, **told))
        next_n[w] += 1
    return lines


lines_of_a_run = spoken.map(write)


@st.composite
def spools(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a spool: lines, lines that come again, torn ones, and garbage."""
    lines = draw(lines_of_a_run)
    spool = []
    for number, written in enumerate(lines):
        spool.append(written)
        extra = draw(st.integers(0, 9))
        if extra == 0:
            spool.append(lines[draw(st.integers(0, number))])
        elif extra == 1:
            spool.append(draw(noise))
    return b"".join([*spool, b"\n"])


@settings(max_examples=300)
@given(spools(), st.lists(st.integers(0, 10_000), max_size=6))
def test_any_cutting_of_the_bytes_gives_the_same_run_log(spool: bytes, cuts: list[int]) -> None:
    """Also in the middle of a line, and after each byte of it."""
    assert repr(fold_pieces(pieces(spool, cuts))) == repr(fold_pieces([spool]))


@given(lines_of_a_run)
def test_a_whole_spool_that_is_repeated_changes_nothing(lines: list[bytes]) -> None:
    """But the count of what was repeated."""
    once, told = fold_pieces(lines)
    twice, told_twice = fold_pieces([*lines, *lines])

    assert twice.repeated == once.repeated + len(lines)
    assert repr(msgspec.structs.replace(twice, repeated=0)) == repr(once)
    assert repr(told_twice) == repr(told)


@given(lines_of_a_run)
def test_a_run_that_ended_is_not_opened_again_by_repeated_lines(lines: list[bytes]) -> None:
    """They say nothing about who is there now."""
    folding = Fold(RunState("r"))
    folding.apply(decode(b"".join(lines)), ARRIVED_TS)
    folding.end_run()
    before = repr(folding.state)

    folding.apply(decode(b"".join(lines)), ARRIVED_TS)

    assert folding.state.repeated == len(lines)
    folding.state.repeated = 0
    assert repr(folding.state) == before


@settings(max_examples=40, deadline=None)
@given(spools(), st.lists(st.integers(0, 10_000), max_size=4), st.booleans())
def test_a_restart_between_any_two_pieces_changes_nothing(
    spool: bytes, cuts: list[int], has_ended: bool
) -> None:
    """The store holds all that the next event may depend on, at the end of a run as well."""
    parts = pieces(spool, cuts)
    straight = Fold(RunState("r"))
    with tempfile.TemporaryDirectory() as home:
        database = Database(Path(home) / "steplog.db")
        runs = RunLogs(database)
        for part in parts:
            stored = runs.load("r")
            restarted = Fold(stored.state)
            for folding in (straight, restarted):
                folding.apply(decode(part), ARRIVED_TS)
                if has_ended:
                    folding.end_run()
            runs.commit([(stored, restarted.take_changes())])
            straight.take_changes()
        end = runs.load("r")
        database.close()

    assert end.state == straight.state or repr(end.state) == repr(straight.state)
    assert isinstance(end, FoldedRun)


@given(st.lists(st.lists(tracks, max_size=5), min_size=3, max_size=3), st.randoms())
def test_lines_of_visitors_give_the_same_values_in_any_mixture(
    said: list[list[dict[str, Any]]], random: Any
) -> None:
    """Each writer's in its own order; only positions tell how they were mixed."""
    own = [write([(w, told, 1) for told in lines]) for w, lines in zip(WRITERS, said, strict=True)]
    turns = [number for number, lines in enumerate(own) for _ in lines]
    random.shuffle(turns)
    remaining = [iter(lines) for lines in own]
    mixed = [next(remaining[turn]) for turn in turns]

    def seen(lines: list[bytes]) -> list[tuple[Any, ...]]:
        state, told = fold_pieces(lines)
        path = {task.no: task.path for task in state.tasks}
        names = {no: (path[task], key) for no, task, _, key in told.get("series", [])}
        return sorted(
            (names[series], step, ts, repr(value))
            for _, series, step, ts, value in told.get("observations", [])
        )

    assert seen(mixed) == seen(list(itertools.chain(*own)))


@given(
    st.lists(st.sampled_from(["SUCCESS", "FAIL", "vanish", "worker"]), min_size=1, max_size=5),
    st.randoms(),
)
def test_how_a_run_ends_does_not_hang_on_who_left_first(ends: list[str], random: Any) -> None:
    """FAIL if anyone failed or vanished, SUCCESS otherwise."""
    stories = []
    for number, end in enumerate(ends):
        story = [line("open", w=f"{number}", n=0, ts=1, worker=end == "worker")]
        story.append(line("join", w=f"{number}", n=1, ts=2))
        if end not in ("vanish", "worker"):
            story.append(line("leave", w=f"{number}", n=2, ts=3, status=end))
        stories.append(story)
    turns = [number for number, story in enumerate(stories) for _ in story]
    random.shuffle(turns)
    remaining = [iter(story) for story in stories]

    folding = Fold(RunState("r"))
    folding.apply(decode(b"".join(next(remaining[turn]) for turn in turns)), ARRIVED_TS)
    folding.end_run()

    has_failed = "FAIL" in ends
    assert folding.state.status == ("FAIL" if has_failed or "vanish" in ends else "SUCCESS")
    assert folding.state.killed == ("vanish" in ends and not has_failed)
