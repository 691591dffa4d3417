"""Which values can be tracked, and as what they come back."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import os
import uuid
from collections import OrderedDict, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import pydantic
import pytest
from pydantic import v1 as pydantic_v1

from steplog.encoding import prepare
from steplog.values import (
    MAX_DEPTH,
    check_depth,
    from_column,
    from_json,
    map_from_json,
    to_column,
    to_json,
)


class Colour(enum.Enum):
    """An enum of several kinds."""

    RED = "red"
    HALF = 0.5


class Level(enum.IntEnum):
    """An enum of integers."""

    LOW = 1


@dataclasses.dataclass
class Point:
    """A dataclass with what is no field."""

    kind: ClassVar[str] = "point"
    scale: dataclasses.InitVar[float] = 2.0
    x: float = 0.5
    y: Any = None


class Inner(pydantic.BaseModel):
    """A model with an alias."""

    size: int = pydantic.Field(default=3, serialization_alias="the-size")


class Model(pydantic.BaseModel):
    """A model of models."""

    inner: Inner = pydantic.Field(default=Inner(), serialization_alias="the-inner")
    rate: float = float("nan")


class OldInner(pydantic_v1.BaseModel):
    """The same in pydantic 1."""

    size: int = pydantic_v1.Field(default=3, alias="the-size")


class OldModel(pydantic_v1.BaseModel):
    """A model of models in pydantic 1."""

    inner: OldInner = pydantic_v1.Field(default_factory=OldInner, alias="the-inner")


class Where:
    """Something that has a path."""

    def __fspath__(self) -> str:
        return "/data"


class Weird(str):
    """A text that shows itself as another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "shown"


Pair = namedtuple("Pair", "a b")  # noqa: PYI024  # the kind without types is what is tested

COMES_BACK = [
    (np.float32(0.5), 0.5),
    (np.float64(0.1), 0.1),
    (np.float64("inf"), float("inf")),
    (np.longdouble(0.5), 0.5),
    (np.int8(-3), -3),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.bool_(True), True),
    (np.str_("text"), "text"),
    (np.array(1.5), 1.5),
    (np.array([1.5]), 1.5),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array([1.0, np.inf]), [1.0, float("inf")]),
    (np.array([]), []),
    (Colour.RED, "red"),
    (Colour.HALF, 0.5),
    (Level.LOW, 1),
    (Point(), {"x": 0.5, "y": None}),
    (Model(), {"the-inner": {"the-size": 3}, "rate": float("nan")}),
    (OldModel.parse_obj({}), {"the-inner": {"the-size": 3}}),
    ([Model().inner, Point(y=(1, 2))], [{"the-size": 3}, {"x": 0.5, "y": [1, 2]}]),
    (datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC), "2026-11-24T00:00:00Z"),
    (datetime.date(2026, 11, 24), "2026-11-24"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (Path("/a/b"), "/a/b"),
    (PurePosixPath("c"), "c"),
    (Where(), "/data"),
    (Weird("stored"), "stored"),
    (Pair(1, None), [1, None]),
    (OrderedDict(b=1, a=None), {"b": 1, "a": None}),
    ({1.5}, [1.5]),
    (Fraction(1, 2), 0.5),
    (Decimal(3), 3),
    (Decimal("3.0"), 3.0),
    (Decimal("0.1"), 0.1),
    (Decimal("1E+500"), 10**500),
    (Decimal("NaN"), float("nan")),
    (Decimal("-Infinity"), float("-inf")),
    (10**4000, 10**4000),
    ({1: "a", 2.5: None, None: 2}, {"1": "a", "2.5": None, "None": 2}),
    ({np.int64(7): None, Colour.RED: 1}, {"7": None, "red": 1}),
    ({"$float": "NaN"}, {"$float": "NaN"}),
    ({"$$int": {"$int": "0x1"}}, {"$$int": {"$int": "0x1"}}),
    ("\udc80 half", "\udc80 half"),
    ("0042", "0042"),
]


@pytest.mark.parametrize("beside", [1, None], ids=["fast", "exact"])
@pytest.mark.parametrize(("value", "expected"), COMES_BACK, ids=lambda value: type(value).__name__)
def test_value_comes_back(value: Any, expected: Any, beside: Any) -> None:
    """A value comes back as the plain value that it stands for, whatever is tracked beside it."""
    back = map_from_json(bytes(prepare({"value": value, "beside": beside})))

    assert repr(back) == repr({"value": expected, "beside": beside})


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**5000), Decimal(10**5000)],
    ids=["positive", "negative", "decimal"],
)
def test_integer_of_any_size_comes_back(value: Any) -> None:
    """An integer with more digits than CPython parses comes back all the same."""
    back = map_from_json(bytes(prepare({"value": [value, "text"]})))

    assert back["value"][0] == int(value)


def test_directory_entry_is_its_path(tmp_path: Path) -> None:
    """A path-like object is tracked as the path that it names, not as how it shows itself."""
    (tmp_path / "data").touch()
    with os.scandir(tmp_path) as entries:
        back = map_from_json(to_json({"entry": next(iter(entries))}))

    assert back == {"entry": str(tmp_path / "data")}


class Endless:
    """A model that dumps itself."""

    def model_dump(self, *, by_alias: bool) -> Endless:
        """Dump by alias."""
        assert by_alias
        return self


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


loop: list[Any] = []
loop.append(loop)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "a value of type builtins.object cannot be tracked"),
        (1j, "a value of type builtins.complex cannot be tracked"),
        ({(1, 2): 3}, "a value of type builtins.tuple cannot be tracked|a key of type tuple"),
        (loop, "nests deeper than 100 levels"),
        (nested(MAX_DEPTH + 1), "nests deeper than 100 levels"),
        (Endless(), "recursion|nested too deeply"),
        (Decimal("1E+999999"), "the decimal has 1,000,000 digits"),
    ],
    ids=["object", "complex", "key", "loop", "deep", "endless", "decimal"],
)
def test_value_that_cannot_be_tracked_says_why(value: Any, reason: str) -> None:
    """What cannot be encoded raises, with a text that says what is wrong with it."""
    with pytest.raises((TypeError, ValueError, RecursionError), match=reason):
        prepare({"value": value})


def test_deepest_value_comes_back() -> None:
    """As many levels as are allowed come back, from a line and from a column."""
    deepest = nested(MAX_DEPTH)
    check_depth(deepest)

    assert map_from_json(to_json({"value": deepest})) == {"value": deepest}
    assert from_column(to_column(deepest)) == deepest


@pytest.mark.parametrize(
    ("value", "column"),
    [
        (0.5, 0.5),
        (7, 7),
        (2**63, "9223372036854775808"),
        (True, "true"),
        (None, "null"),
        ("7", '"7"'),
        (float("nan"), '{"$float":"NaN"}'),
        ([1, float("-inf")], '[1,{"$float":"-Infinity"}]'),
    ],
)
def test_column_is_a_number_or_json(value: Any, column: Any) -> None:
    """Finite floats and integers of 64 bits are themselves in SQLite, all else is JSON."""
    assert to_column(value) == column
    assert type(to_column(value)) is type(column)


@pytest.mark.parametrize("value", [{"$int": "no"}, {"$float": "0.5"}, {"$new": 1}, {"$int": 5}])
def test_escape_that_is_none_is_kept(value: Any) -> None:
    """An object that only looks like an escape comes back as it is."""
    assert from_json(value) == value
