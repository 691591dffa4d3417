"""Bytes of a spool, and the events that they are."""

from __future__ import annotations

import pytest

from steplog.decoding import complete, decode
from steplog.events import MAX_NUMBER, MAX_TIMESTAMP, Leave, Malformed, Track, Unknown, task_path


def test_least_line_is_an_event() -> None:
    """The least that any program may append counts, with the defaults for the rest."""
    assert decode(b'{"t":"track","values":{"loss":0.25}}\n') == [Track(values={"loss": 0.25})]


@pytest.mark.parametrize(
    ("chunk", "length"),
    [(b"", 0), (b"torn", 0), (b"whole\n", 6), (b"whole\ntorn", 6), (b"\n", 1)],
)
def test_only_whole_lines_are_complete(chunk: bytes, length: int) -> None:
    """A chunk is complete up to its last LF."""
    assert complete(chunk) == length


@pytest.mark.parametrize(
    "line",
    [
        b'{ "values" : {"a":1} , "t" : "track" }\n',
        b'{"t":"track","values":{"a":1}}\r\n',
        b'\n \n{"t":"track","values":{"a":1}}\n\n',
        b'{"t":"track","values":{"a":1},"later":{"x":[1]}}\n',
    ],
    ids=["order", "crlf", "empty", "unknown field"],
)
def test_line_of_another_program_is_an_event(line: bytes) -> None:
    """Order, spaces, CR, empty lines and unknown fields make no difference."""
    assert decode(line) == [Track(values={"a": 1})]


def test_unknown_kind_is_kept() -> None:
    """A kind of a later version is no error, and keeps its place in the numbers."""
    line = b'{"t":"later","w":"w","n":3,"ts":5,"anything":[{"t":"x"}]}\n'

    assert decode(line) == [Unknown(kind="later", w="w", n=3, ts=5)]


def test_bare_nan_of_other_programs_is_read() -> None:
    """NaN and Infinity as many JSON writers spell them are values too."""
    (event,) = decode(b'{"t":"track","values":{"a":NaN,"b":-Infinity}}\n')

    assert isinstance(event, Track)
    assert repr(event.values) == "{'a': nan, 'b': -inf}"


NO_EVENTS = {
    "no JSON": b"Epoch 3: loss 0.2",
    "an array": b"[1]",
    "a number": b"5",
    "no kind": b'{"values":{}}',
    "a kind that is no text": b'{"t":5}',
    "no values": b'{"t":"track"}',
    "values that are none": b'{"t":"track","values":5}',
    "a step that is none": b'{"t":"track","step":1.5,"values":{}}',
    "a step beyond 64 bits": b'{"t":"track","step":9223372036854775808,"values":{}}',
    "a number beyond what can be added up": b'{"t":"leave","w":"w","n":%d}' % (MAX_NUMBER + 1),
    "a count beyond that": b'{"t":"lost","count":%d}' % (MAX_NUMBER + 1),
    "a time beyond the calendar": b'{"t":"leave","ts":%d}' % (MAX_TIMESTAMP + 1),
    "such a time of an unknown kind": b'{"t":"later","ts":%d}' % (MAX_TIMESTAMP + 1),
    "no UTF-8": b'{"t":"track","values":{"a":"\xff"}}',
    "NULs": b"\x00" * 50,
    "deep nesting": b'{"t":"track","values":{"a":' + b"[" * 101 + b"]" * 101 + b"}}",
    "endless nesting": b'{"t":"track","values":{"a":' + b"[" * 100_000,
    "endless digits": b'{"t":"track","values":{"a":' + b"1" * 10_000 + b"}}",
}


@pytest.mark.parametrize("kind", NO_EVENTS)
def test_what_is_no_event_is_set_aside(kind: str) -> None:
    """A line that is no event costs itself alone, and keeps its place and its bytes."""
    line = NO_EVENTS[kind]
    before, bad, after = decode(b'{"t":"leave"}\n' + line + b'\n{"t":"leave"}\n', offset=100)

    assert (before, after) == (Leave(), Leave())
    assert isinstance(bad, Malformed)
    assert (bad.offset, bad.line) == (114, line)
    assert bad.reason


def test_torn_lines_in_a_row_are_one_piece() -> None:
    """Several torn writes before a whole line are set aside together."""
    torn = b'{"t":"track","w":"a{"t":"track","w":"b","n":'
    bad, event = decode(torn + b'{"t":"leave"}\n')

    assert isinstance(bad, Malformed)
    assert (bad.line, event) == (torn, Leave())


def test_path_of_a_task() -> None:
    """A task is a name, or the names from the outermost to it."""
    assert task_path("a") == ("a",)
    assert task_path(("a", "b")) == ("a", "b")
