"""What was tracked, as the run log's document shows it: by step, and of which type."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.stores import Store


def test_steps_stand_in_numeric_order(store: Store) -> None:
    """Ten comes after two, and a negative step first, whatever the order of tracking."""
    for step in (10, 2, 0, -1):
        store.observe("loss", step / 2, step)

    assert list(store.metrics()["loss"].items()) == [
        ("-1", -0.5),
        ("0", 0.0),
        ("2", 1.0),
        ("10", 5.0),
    ]


def test_only_step_zero_stands_flat(store: Store) -> None:
    """A key that was tracked at one other step stands by step, as does one with more steps."""
    store.observe("flat", 1)
    store.observe("later", 1, step=5)
    store.observe("both", 1)
    store.observe("both", 2, step=1)

    assert store.metrics() == {"flat": 1, "later": {"5": 1}, "both": {"0": 1, "1": 2}}


def test_the_later_one_wins_across_attempts(store: Store) -> None:
    """Attempts of a task are one in the document, and keys keep the order of appearance."""
    store.attempt(number=2)
    store.observe("loss", 0.9, step=1, attempt=1)
    store.observe("loss", 0.8, step=2, attempt=1)
    store.observe("acc", 0.5, attempt=0)
    store.observe("loss", 0.1, step=1, attempt=2)
    store.observe("loss", 0.7, step=2, attempt=1)

    assert store.metrics() == {"loss": {"1": 0.1, "2": 0.7}, "acc": 0.5}
    assert list(store.metrics()) == ["loss", "acc"]


def test_a_nested_value_is_never_taken_for_steps(store: Store) -> None:
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
def test_a_value_keeps_its_type_and_its_digits(store: Store, value: Any, printed: str) -> None:
    """What was tracked is read back as it was, and printed in ASCII by every reader's JSON."""
    store.observe("it", value)

    found = store.metrics()["it"]
    assert (type(value), repr(value)) == (type(found), repr(found))
    assert f'"it": {printed}\n' in store.written()


def test_more_digits_than_a_reader_takes_are_printed_in_hex(store: Store) -> None:
    """Such an integer is itself when read back, and a string in JSON, which json.loads takes."""
    store.observe("it", -(2**20000))

    assert store.metrics() == {"it": -(2**20000)}
    printed = json.loads(store.written())["steps"]["train"]["user_defined_metrics"]["it"]
    assert int(printed, 16) == -(2**20000)


def test_non_finite_numbers_are_floats_and_print_as_strings(store: Store) -> None:
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


def test_a_key_with_a_lone_surrogate_comes_back(store: Store) -> None:
    """A key that SQLite holds as bytes is the text it was, and an escape in JSON."""
    store.observe("\udc80 loss".encode("utf-8", "surrogatepass"), 1)

    assert store.metrics() == {"\udc80 loss": 1}
    assert '"\\udc80 loss": 1' in store.written()
