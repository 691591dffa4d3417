"""A real spool with all kinds of event, cut and changed everywhere; what is whole in it arrives."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

import steplog
from steplog.decoding import LINE_START, decode
from steplog.events import KnownEvent, Malformed
from steplogd.intake.tail import CHUNK_BYTES
from tests.bench import Bench
from tests.execs import run_exec
from tests.lines import Scribe, append, line
from tests.repositories import make_repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplog.decoding import AnyEvent

LATER = line("track", w="later", n=0, ts=9, values={"x": 1}) + line("leave", w="later", n=1, ts=10)
LATER_EVENTS = decode(LATER)


@pytest.fixture
def spool(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Have the SDK write every kind of event."""
    monkeypatch.chdir(make_repository(tmp_path / "repository"))
    with contextlib.suppress(RuntimeError):
        track_all_kinds()
    run_exec("--task", "shell", "--", "echo", "hello")
    return (home / "spool" / "r.jsonl").read_bytes()


def track_all_kinds() -> None:
    with steplog.start_run("r", tag="x", parameters={"lr": 0.1}):
        with steplog.task("train"), steplog.task("inner"):
            for step in range(5):
                steplog.track_this(step=step, loss=1 / (step + 1), note="ü\n{", nan=float("nan"))
        steplog.track_this(bad=object())
        steplog.track_this(big=10**5000, nested={"$ref": [1, {}]}, lone="\ud800")
        raise RuntimeError("why")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Build a line over a home of its own."""
    (tmp_path / "folded" / "spool").mkdir(parents=True)
    built = Bench(tmp_path / "folded")
    yield built
    built.database.close()


def test_the_spool_has_every_kind_of_event(spool: bytes) -> None:
    """Else what is shown of it is shown of some kinds alone."""
    kinds = {type(event) for event in decode(spool)}

    assert kinds == set(KnownEvent.__args__)


def test_a_spool_that_was_cut_anywhere_keeps_all_that_is_whole(spool: bytes) -> None:
    """What was whole before the cut, and what comes after it, after an LF or glued to the cut."""
    for cut in range(len(spool) + 1):
        whole = decode(spool[: spool.rfind(b"\n", 0, cut) + 1])
        for after in (b"\n", b""):
            found = decode(spool[:cut] + after + LATER)

            assert found[: len(whole)] == whole
            assert found[-len(LATER_EVENTS) :] == LATER_EVENTS
            assert len(found) <= len(whole) + 1 + len(LATER_EVENTS)


def test_a_spool_that_is_cut_from_its_front_keeps_all_that_is_whole(spool: bytes) -> None:
    """As one is that lost its first blocks."""
    events = decode(spool)
    for cut in range(len(spool)):
        rest = spool[cut:]
        whole = decode(rest[rest.find(b"\n") + 1 :])

        found = decode(rest)

        assert found[len(found) - len(whole) :] == whole
        assert whole == events[len(events) - len(whole) :]


def test_a_bit_that_is_flipped_costs_no_other_line(spool: bytes) -> None:
    """At each byte one; a lost LF costs none, as the next line is found by how it begins."""
    lines = spool.splitlines(keepends=True)
    each = [decode(one) for one in lines]
    offset = 0
    for number, one in enumerate(lines):
        before = [event for events in each[:number] for event in events]
        after = [event for events in each[number + 1 :] for event in events]
        for place in range(offset, offset + len(one)):
            flipped = bytearray(spool)
            flipped[place] ^= 1 << place % 8

            found = decode(bytes(flipped))

            assert found[: len(before)] == before
            assert found[len(found) - len(after) :] == after
        offset += len(one)


def test_a_spool_that_is_cut_while_it_is_folded_loses_nothing(spool: bytes, bench: Bench) -> None:
    """The rest comes later, at any of these places; each event is there once."""
    cuts = range(0, len(spool), 211)
    for cut in cuts:
        append(bench.home, f"r{cut}", spool[:cut])
    bench.fold()
    for cut in cuts:
        append(bench.home, f"r{cut}", spool[cut:])
    append(bench.home, "whole", spool)

    bench.fold()

    whole = bench.values("whole")
    assert len(whole) > 15
    assert [bench.values(f"r{cut}") for cut in cuts] == [whole] * len(cuts)
    assert bench.run("whole")["malformed"] == 0


BLOCK = 3 * CHUNK_BYTES
SHAPES = {
    "NULs": b"\0" * BLOCK,
    "NULs and LFs": b"\0\n" * (CHUNK_BYTES // 8),
    "no LF": b"x" * BLOCK,
    "half a million brackets": b'{"t":"track","values":{"a":' + b"[" * 500_000,
    "half a million objects": b'{"t":"track","values":' + b'{"a":' * 500_000,
    "bare brackets": b"[" * 500_000 + b"]" * 500_000,
    "bad UTF-8": b'{"t":"track","values":{"\xff":"\xc3("}}',
    "half a surrogate": b'{"t":"track","values":{"\\ud800',
    "many digits": b'{"t":"track","values":{"a":' + b"7" * 5_000 + b"}}",
    "very many digits": b'{"t":"track","values":{"a":' + b"7" * 1_000_000 + b"}}",
    "very many hex digits": b'{"t":"lost","count":{"$int":"0x' + b"f" * 1_000_000 + b'"}}',
    "digits behind a point": b'{"t":"track","values":5.' + b"7" * 1_000_000 + b"}",
    "a format that is none": b'{"t":"open","w":"a","n":0,"format":"x"}',
    "starts of lines": LINE_START * (CHUNK_BYTES // 6),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_line_of_any_shape_costs_its_neighbours_nothing(bench: Bench, shape: str) -> None:
    """Nor the end of the run; it is counted, and what is kept of it is bounded."""
    a = Scribe()
    append(bench.home, "r", a.line("join"), a.track(loss=0.5), SHAPES[shape] + b"\n")
    append(bench.home, "r", a.track(loss=0.25), a.line("leave"), SHAPES[shape])
    append(bench.home, "s", SHAPES[shape], a.track(loss=0.125))
    bench.fold()
    bench.check_ends()
    bench.check_ends(10.0)

    assert bench.values() == [0.5, 0.25]
    assert bench.values("s") == [0.125]
    assert bench.run()["status"] == "SUCCESS"
    assert bench.run()["malformed"] >= 1
    assert kept(bench) <= (2_000, 4_096)


def kept(bench: Bench) -> tuple[int, int]:
    """Return how many pieces the store keeps, and the size of the largest."""
    with bench.database.reading() as connection:
        sql = "SELECT count(*), max(length(excerpt)) FROM set_aside"
        count, size = connection.execute(sql).fetchone()
        return count, size


VALUES: dict[bytes, list[object]] = {
    b'{"t":"track","values":{"a":1,"a":2}}': [2],
    b'{"t":"lost","count":1,"t":"track","values":{"a":5}}': [5],
    b'{"t":"track","values":{"a":1e400}}': [float("inf")],
    b'{"t":"track","values":{"a":-1e-999999999}}': [0.0],
    b'{"t":"track","values":{"a":"\\ud800"}}': ['"\\ud800"'],
    b'{"t":"later","values":{"a":5}}': [],
    b'{"t":"open","w":"a","n":0,"format":2}': [],
    b'{"t":"track","values":{"a":{"$int":"0xff"}}}': [255],
}


@pytest.mark.parametrize("text", VALUES)
def test_what_json_leaves_open_is_read_in_one_way(bench: Bench, text: bytes) -> None:
    """The later one of two equal keys counts; what no float can hold is what it rounds to."""
    append(bench.home, "r", text + b"\n")

    bench.fold()

    assert bench.values() == VALUES[text]
    assert bench.run()["malformed"] == 0


def test_lines_that_were_copied_from_another_run_are_that_writers_here_too(bench: Bench) -> None:
    """They take nothing from who writes here, and nothing from the run that they come from."""
    a, b = Scribe("a"), Scribe("b")
    own = [a.track(loss=1.0), a.track(loss=2.0)]
    append(bench.home, "r", *own)
    append(bench.home, "s", b.track(loss=3.0), *own, b.track(loss=4.0), *own)

    bench.fold()

    assert bench.values("r") == [1.0, 2.0]
    assert bench.values("s") == [3.0, 1.0, 2.0, 4.0]
    assert bench.run("s")["repeated"] == 2


def test_a_spool_of_garbage_does_not_fill_the_store(bench: Bench) -> None:
    """Its first pieces are kept, all are counted, and the events among them arrive."""
    append(bench.home, "r", b"x\n" * 50_000, line("track", values={"x": 1}))

    bench.fold()

    assert (bench.values(), bench.run()["malformed"]) == ([1], 50_000)
    assert kept(bench) == (1_000, 1)


def malformed(events: list[AnyEvent]) -> int:
    """Return how many of these are no event."""
    return sum(isinstance(event, Malformed) for event in events)


def test_a_torn_line_is_one_piece(spool: bytes) -> None:
    """Wherever it was torn, but for its last byte, the LF: then it is whole."""
    first = spool[: spool.find(b"\n") + 1]
    counts = [malformed(decode(first[:cut] + LATER)) for cut in range(1, len(first) + 1)]

    assert counts == [1] * (len(first) - 2) + [0, 0]
