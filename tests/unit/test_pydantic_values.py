"""Pydantic models as values: dumped by alias wherever they stand, by both versions."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import sys
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pydantic
import pytest
from pydantic import v1 as pydantic_v1

from steplog.encoding import prepare
from steplog.values import map_from_json
from tests.conftest import run_program, tracked

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")


class Colour(enum.Enum):
    """An enum, as a key and as a value."""

    RED = "red"


class Ham(pydantic.BaseModel):
    """A model with an alias."""

    slices: int = pydantic.Field(default=3, serialization_alias="the-slices")


class Plate(pydantic.BaseModel):
    """A model whose fields are of many kinds."""

    hams: list[Ham] = [Ham()]
    by_number: dict[int, Ham] = {1: Ham()}
    by_colour: dict[Colour, Ham] = {Colour.RED: Ham()}
    pair: tuple[int, Ham] = (1, Ham())
    colour: Colour = Colour.RED
    since: datetime.datetime = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
    weights: Any = pydantic.Field(default_factory=lambda: np.array([0.5, np.nan]))
    rate: Any = np.float32(0.5)
    loss: float = float("inf")


class Any2(pydantic.BaseModel):
    """A model that holds anything."""

    it: Any = None


class Box(pydantic.BaseModel, Generic[T]):
    """A generic model."""

    content: T = pydantic.Field(serialization_alias="the-content")


class Hams(pydantic.RootModel[list[Ham]]):
    """A model that is a list."""


class Secretive(pydantic.BaseModel):
    """A model with what JSON does not know."""

    key: pydantic.SecretStr = pydantic.SecretStr("s3cret")
    url: pydantic.HttpUrl = pydantic.HttpUrl("http://127.0.0.1/a")
    address: pydantic.IPvAnyAddress = pydantic.Field(default="::1", validate_default=True)


class Camel(pydantic.BaseModel):
    """A model whose aliases are made up."""

    model_config = pydantic.ConfigDict(alias_generator=lambda name: name.title())

    rate: float = 0.5


class Open(pydantic.BaseModel):
    """A model that takes fields that it does not know."""

    model_config = pydantic.ConfigDict(extra="allow")


class OldHam(pydantic_v1.BaseModel):
    """A model of pydantic 1 with an alias."""

    slices: int = pydantic_v1.Field(default=3, alias="the-slices")


class OldPlate(pydantic_v1.BaseModel):
    """A model of pydantic 1 whose fields are of many kinds."""

    hams: list[OldHam] = [OldHam.parse_obj({})]
    by_number: dict[int, OldHam] = {1: OldHam.parse_obj({})}
    colour: Colour = Colour.RED
    it: Any = None


class OldHams(pydantic_v1.BaseModel):
    """A model of pydantic 1 that is a list."""

    __root__: list[OldHam] = [OldHam.parse_obj({})]


@dataclasses.dataclass(slots=True)
class Holder:
    """A dataclass that holds anything."""

    it: Any


HAM = {"the-slices": 3}
OLD_PLATE = {"hams": [HAM], "by_number": {"1": HAM}, "colour": "red", "it": None}
PLATE = {
    "hams": [HAM],
    "by_number": {"1": HAM},
    "by_colour": {"red": HAM},
    "pair": [1, HAM],
    "colour": "red",
    "since": "2026-11-24T00:00:00Z",
    "weights": [0.5, float("nan")],
    "rate": 0.5,
    "loss": float("inf"),
}


@pytest.mark.parametrize("beside", [1, None], ids=["fast", "exact"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Ham(), HAM),
        ([Ham()], [HAM]),
        ((Ham(),), [HAM]),
        ({"a": {2: [Ham()]}}, {"a": {"2": [HAM]}}),
        (Holder([Ham()]), {"it": [HAM]}),
        (Any2(it=Holder({"a": Ham()})), {"it": {"it": {"a": HAM}}}),
        (Any2(it={np.int64(3): [Ham(), OldHam.parse_obj({})]}), {"it": {"3": [HAM, HAM]}}),
        (Plate(), PLATE),
        (Box[Ham](content=Ham()), {"the-content": HAM}),
        (Box(content=[Ham()]), {"the-content": [HAM]}),
        (Hams([Ham()]), [HAM]),
        (pydantic.RootModel[int](7), 7),
        (Camel(), {"Rate": 0.5}),
        (Open.model_validate({"ham": Ham()}), {"ham": HAM}),
        (Secretive(), {"key": "**********", "url": "http://127.0.0.1/a", "address": "::1"}),
        (OldPlate(), OLD_PLATE),
        ([OldPlate(it=[Ham()])], [{**OLD_PLATE, "it": [HAM]}]),
        (OldHams(), [HAM]),
        (Holder(OldHams()), {"it": [HAM]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_model_is_dumped_by_alias_wherever_it_stands(
    value: Any, expected: Any, beside: Any
) -> None:
    """A model within anything becomes a map of its aliases, whatever is tracked beside it."""
    back = map_from_json(bytes(prepare({"value": value, "beside": beside})))

    assert repr(back) == repr({"value": expected, "beside": beside})


def test_model_within_itself_says_so() -> None:
    """A model that holds itself cannot be tracked, and does not recurse for ever."""
    ring = Any2()
    ring.it = ring

    with pytest.raises(ValueError, match="nested too deeply"):
        prepare({"ring": ring})


def test_dataclass_of_pydantic_is_dumped_by_alias(home: Path) -> None:
    """Pydantic's own dataclasses go by alias too, within plain ones and lists as well."""
    done = run_program("""
        import dataclasses, pydantic, steplog
        from pydantic.dataclasses import dataclass
        @dataclass
        class Ham:
            slices: int = pydantic.Field(default=3, serialization_alias="the-slices")
        @dataclasses.dataclass
        class Holder:
            it: Ham = dataclasses.field(default_factory=Ham)
        steplog.track_this(alone=Ham(), within=[Holder()])
    """)

    assert done.stderr == ""
    (event,) = tracked(home)
    assert event.values == {"alone": HAM, "within": [{"it": HAM}]}


def test_pydantic_is_not_loaded_for_others_sake(home: Path) -> None:
    """Values of every other kind are tracked without an import of pydantic."""
    done = run_program("""
        import dataclasses, datetime, sys, steplog
        @dataclasses.dataclass
        class Point:
            x: int = 1
        steplog.track_this(a=Point(), b=[{"c": {1, 2}}], d=datetime.date(2026, 1, 1), e=object())
        print([name for name in sys.modules if name.startswith("pydantic")])
    """)

    assert home.exists()
    assert done.stdout == "[]\n"


def test_fast_encoding_is_what_these_tests_run_against() -> None:
    """Nothing here loads `pydantic.dataclasses`, which turns the fast encoding off."""
    assert "pydantic.dataclasses" not in sys.modules
