"""The format vectors, which any implementation can be checked against, hold for ours."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from steplog import values
from steplog.decoding import AnyEvent, complete, decode
from steplog.encoding import encode_line, prepare
from steplog.events import Malformed, Track, Unknown, task_path

_DOCUMENT = json.loads(
    Path(__file__).parents[2].joinpath("sdk", "format-vectors.json").read_text("utf-8")
)
_VECTORS = [pytest.param(vector, id=vector["name"]) for vector in _DOCUMENT["vectors"]]


def _typed(value: Any) -> list[Any]:
    """Write a value as the vectors do: its type and its content."""
    match value:
        case None:
            return ["null"]
        case bool():
            return ["bool", value]
        case int():
            return ["int", str(value)]
        case float():
            names = {math.inf: "Infinity", -math.inf: "-Infinity"}
            return ["float", "NaN" if math.isnan(value) else names.get(value, repr(value))]
        case str():
            return ["text", value]
        case list():
            return ["list", [_typed(item) for item in value]]
        case dict():
            return ["map", {key: _typed(item) for key, item in value.items()}]
    raise AssertionError(value)


def _shown(event: AnyEvent, expected: dict[str, Any]) -> dict[str, Any]:
    """Show of an event what a vector lists."""
    if isinstance(event, Unknown):
        return {"t": event.kind, "unknown": True, "w": event.w, "n": event.n}
    shown: dict[str, Any] = {"t": event.__struct_config__.tag}
    for name in expected.keys() - {"t"}:
        content = getattr(event, name)
        if name == "task":
            content = list(task_path(content))
        elif name in ("values", "parameters", "config"):
            content = {key: _typed(value) for key, value in content.items()}
        shown[name] = content
    return shown


def _spool(vector: dict[str, Any]) -> bytes:
    text = vector.get("spool")
    return bytes.fromhex(vector["spool_hex"]) if text is None else text.encode()


@pytest.mark.parametrize("vector", _VECTORS)
def test_reader_makes_of_a_spool_what_the_vector_says(vector: dict[str, Any]) -> None:
    """Each vector's events arrive, in order and with their types, and the rest is set aside."""
    spool = _spool(vector)

    events = decode(spool[: complete(spool)])

    good = [event for event in events if not isinstance(event, Malformed)]
    assert vector["malformed"] == len(events) - len(good)
    assert len(vector["events"]) == len(good)
    assert vector["events"] == [
        _shown(event, expected) for event, expected in zip(good, vector["events"], strict=True)
    ]


@pytest.mark.parametrize("vector", _VECTORS)
def test_writer_writes_what_the_reader_reads(vector: dict[str, Any]) -> None:
    """What a vector's track events hold, our own encoding writes so that it is read again."""
    for event in decode(_spool(vector)):
        if isinstance(event, Track):
            line = encode_line(Track(values=prepare(event.values)))  # type: ignore[arg-type]
            (again,) = decode(line)

            assert isinstance(again, Track)
            assert _typed(event.values) == _typed(again.values)
            assert values.to_json(event.values) == values.to_json(again.values)
