"""Any value comes back as what went in, and any cutting of the bytes gives the same events."""

from __future__ import annotations

import itertools
import math
import sqlite3
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from steplog.decoding import AnyEvent, decode
from steplog.encoding import encode_line, prepare
from steplog.events import Malformed, Track
from steplog.values import from_column, map_from_json, to_column, to_json

texts = st.text(st.characters(codec=None, categories=None), max_size=20)
tricky_texts = st.sampled_from(
    ["NaN", "null", "1E+9", "0042", "$float", "$int", "$$", '{"t":"', "\ud800", "\x00", "\n", "t"]
)
integers = st.integers() | st.integers(-(10**5000), 10**5000) | st.sampled_from([2**63, -(2**63)])
scalars = (
    st.none()
    | st.booleans()
    | integers
    | st.floats(allow_nan=True)
    | st.just(-0.0)
    | texts
    | tricky_texts
)
keys = texts | tricky_texts
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
maps = st.dictionaries(keys, trees, min_size=1, max_size=4)


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal in type, in sign and through and through; NaN is NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return bool(one == other)


def line_of(values: dict[str, Any], n: int = 0) -> bytes:
    return encode_line(Track("w", n, 1, values=prepare(values)))  # type: ignore[arg-type]


@given(maps)
def test_values_come_back_from_a_line(values: dict[str, Any]) -> None:
    """A line gives back the values that were encoded into it, by itself and among others."""
    line = line_of(values)
    (event,) = decode(line)
    among = decode(line + line_of({"a": 1}) + line)

    assert isinstance(event, Track)
    assert is_same(event.values, values)
    assert [type(found) for found in among] == [Track, Track, Track]
    assert is_same(among[2].values, values)  # type: ignore[union-attr]


@given(maps)
def test_fast_and_exact_encoding_read_alike(values: dict[str, Any]) -> None:
    """Whichever way values were encoded, the same comes out."""
    assert is_same(map_from_json(to_json(values)), values)
    assert is_same(map_from_json(bytes(prepare(values))), values)


@given(trees)
def test_values_come_back_from_a_column(value: Any) -> None:
    """What SQLite keeps of a value gives back the value."""
    database = sqlite3.connect(":memory:")
    (kept,) = database.execute("select ?", (to_column(value),)).fetchone()
    database.close()

    assert is_same(from_column(kept), value)


@given(maps, maps, st.data())
def test_torn_line_costs_only_itself(
    torn: dict[str, Any], whole: dict[str, Any], data: st.DataObject
) -> None:
    """A piece of a line in front of another one is set aside, and the other arrives."""
    line = line_of(torn)
    piece = line[: data.draw(st.integers(1, len(line) - 2))]
    events = decode(piece + line_of(whole, n=1))

    assert [type(event) for event in events] == [Malformed, Track]
    assert isinstance(events[0], Malformed)
    assert events[0].line == piece
    assert is_same(events[1].values, whole)  # type: ignore[union-attr]


@given(maps, maps)
def test_line_without_its_lf_is_still_an_event(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    """A line that lost only its LF counts, and so does the one that was glued to it."""
    events = decode(line_of(first).removesuffix(b"\n") + line_of(second))

    assert len(events) == 2
    assert is_same(events[0].values, first)  # type: ignore[union-attr]
    assert is_same(events[1].values, second)  # type: ignore[union-attr]


_DEEP = b'{"t":"track","values":{"a":' + b"[" * 120 + b"]" * 120 + b"}}"
fragments = st.sampled_from(
    [
        b'{"t":"track","values":{"a":1}}',
        b'{"t":"track",',
        b'"values":{"a":2}}',
        b'{ "t":"track","values":{"a":{}}}',
        b'{"t":"track","values":{"a":{}',
        b'{"t":"track","values":{"a":' + b"[" * 60 + b"]" * 60 + b"}}",
        b'{"t":"track","values":{"a":' + b'{"a":' * 99 + b"1" + b"}" * 99 + b"}}",
        _DEEP,
        b'{"t":"leave"}',
        b'{"t":"strange","x":[1]}',
        b'{"t":"track","task":["a","b"],"values":{"a":NaN,"b":{"$float":"NaN"}}}',
        b'{"t":"x"}}}',
        b'{"t":"track","n":1e99,"values":{}}',
        b"\n",
        b"\n",
        b" \r",
        b"}",
        b"{",
        b'"',
        b"\xff\x00",
    ]
)
spools = st.lists(fragments, max_size=12).map(lambda parts: b"".join(parts) + b"\n")


@given(spools, st.integers(0))
@example(b'{"t":"track",\n"values":{"a":2}}\n', -1)  # one event, on two lines
@example(b'{"t":"track","values":{"a":\n{"t":"x"}}}{"t":"leave"}\n', -1)
@example(50 * b'{"t":"leave"}\n' + _DEEP + b"\n", -1)  # too deep, among lines with few brackets
def test_any_cutting_gives_the_same_events(spool: bytes, which: int) -> None:
    """However the lines come in pieces, and whatever is in them, the events are the same."""
    ends = [at + 1 for at, byte in enumerate(spool) if byte == ord("\n")]
    inner = [end for number, end in enumerate(ends) if which >> number & 1]
    pieces: list[AnyEvent] = []
    for start, end in itertools.pairwise(sorted({0, *inner, len(spool)})):
        pieces.extend(decode(spool[start:end], start))

    assert repr(pieces) == repr(decode(spool))


@given(st.binary(max_size=200))
def test_no_bytes_raise(noise: bytes) -> None:
    """Whatever stands in a spool, decoding it raises nothing and loses no byte of a line."""
    kept = [e.line for e in decode(noise + b"\n") if isinstance(e, Malformed)]

    assert b"".join(kept) == b"".join(
        line for line in noise.split(b"\n") if line and not line.isspace()
    )
