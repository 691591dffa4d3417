"""Lines as the SDK writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steplog.decoding import decode
from steplog.encoding import as_step, check_size, encode_line, prepare, prepare_each
from steplog.events import MAX_LINE_BYTES, End, Leave, Track


def test_line_is_as_the_format_says() -> None:
    """The kind comes first, defaults are left out, and an LF ends the line."""
    event = Track("9f3ac1", 17, 5, task="train", step=3, values={"loss": 0.25})

    assert encode_line(event) == (
        b'{"t":"track","w":"9f3ac1","n":17,"ts":5,"task":"train","step":3,"values":{"loss":0.25}}\n'
    )


def test_default_fields_are_left_out() -> None:
    """A line says nothing that a reader knows without it."""
    assert encode_line(Leave("w", 0, 1)) == b'{"t":"leave","w":"w","n":0,"ts":1}\n'


@pytest.mark.parametrize(
    "event", [Leave("w", 0, 1, message="\udc80"), End("w", 0, 1, task="\ud800")]
)
def test_names_with_half_a_character_come_back(event: Leave | End) -> None:
    """A task or a message with a lone surrogate, as in odd file names, costs no line."""
    assert decode(encode_line(event)) == [event]


def test_values_with_half_a_task_name_come_back() -> None:
    """Values that were encoded already stand unchanged beside such a name."""
    values: Any = prepare({"a": None, "b": [1.5]})

    (event,) = decode(encode_line(Track("w", 0, 1, task="\ud800", values=values)))
    assert isinstance(event, Track)
    assert (event.task, event.values) == ("\ud800", {"a": None, "b": [1.5]})


def test_start_of_a_line_never_stands_within_one() -> None:
    """Whatever is tracked, a reader that looks for the start of a line finds the one."""
    values: Any = prepare({"t": "x", "in": {"t": "track", "deep": [{"t": "y"}]}})
    line = encode_line(Track("w", 0, 1, values=values))

    assert line.count(b'{"t":"') == 1
    (event,) = decode(line)
    assert isinstance(event, Track)
    assert event.values == {"t": "x", "in": {"t": "track", "deep": [{"t": "y"}]}}


def test_what_is_encoded_already_stays() -> None:
    """Preparing twice is preparing once."""
    once = prepare({"a": None})

    assert prepare(once) is once


@pytest.mark.parametrize("values", [[("a", 1)], {"a": 1}.items()])
def test_pairs_make_a_map(values: Any) -> None:
    """What `dict` takes can be tracked."""
    assert bytes(prepare(values)) == b'{"a":1}'


@pytest.mark.parametrize("values", [None, 5, "text", [1]])
def test_what_is_no_map_is_refused(values: Any) -> None:
    """What is no mapping never becomes a line that readers refuse."""
    with pytest.raises((TypeError, ValueError)):
        prepare(values)


@pytest.mark.parametrize(
    ("step", "whole"),
    [
        (3, 3),
        (True, 1),
        (3.0, 3),
        (np.int64(3), 3),
        (np.float32(3), 3),
        (np.array(3), 3),
        (-(2**63), -(2**63)),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_step_is_a_whole_number(step: Any, whole: int) -> None:
    """Whatever counts as a whole number can be a step."""
    assert as_step(step) == whole
    assert type(as_step(step)) is int


@pytest.mark.parametrize(
    "step", [3.5, float("nan"), float("inf"), 2**63, "3", None, np.array(3.7), np.array([1, 2])]
)
def test_step_that_is_none_is_refused(step: Any) -> None:
    """What is no whole number of 64 bits is no step, and is never rounded to one."""
    with pytest.raises((TypeError, ValueError)):
        as_step(step)


def test_longest_line_is_256_kib() -> None:
    """A line of 256 KiB is allowed, and not one byte more."""
    assert check_size(b"x" * MAX_LINE_BYTES)
    with pytest.raises(ValueError, match="262,145 bytes"):
        check_size(b"x" * (MAX_LINE_BYTES + 1))


def test_each_value_costs_itself_alone() -> None:
    """Values that cannot be encoded, or find no room, are lost one by one."""
    errors: list[Exception] = []
    values = {"a": 1, "bad": object(), "long": "x" * 100, "b": 2}

    assert bytes(prepare_each(values, 50, errors.append)) == b'{"a":1,"b":2}'
    assert len(errors) == 2


@pytest.mark.parametrize("padding", range(0, 3900, 389))
def test_an_integer_of_many_digits_is_found_wherever_it_stands(padding: int) -> None:
    """Not every byte of a long line is looked at, but every such integer is."""
    body = bytes(prepare({"padding": "x" * padding, "big": 10**4000, "rest": "y" * 9000}))

    assert b'"$int"' in body
