"""Events in, lines out: a fast encoding for what is common, an exact one for everything else."""

from __future__ import annotations

import operator
import re
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from steplog import values as value_encoding
from steplog.decoding import LINE_START
from steplog.events import MAX_LINE_BYTES, KnownEvent
from steplog.interrupts import comes_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_encoder: Final = msgspec.json.Encoder(enc_hook=value_encoding.foreign, decimal_format="number")
encode_into: Final = _encoder.encode_into
"""Encode an event of plain numbers into a bytearray, without LF: `encode_line` without its rare
cases. (`encode` ends the process with a segmentation fault where memory is short.)"""

_INT64: Final = 2**63
_MAX_PARAMETERS_BYTES: Final = MAX_LINE_BYTES // 2  # leaves room for whatever else is in the line
_VALUE_FIELDS: Final = ("values", "parameters", "config")
Encoded = TypeVar("Encoded", bytes, msgspec.Raw)

# What the fast encoding may have got wrong: null may stand for NaN or an infinity; `NaN`, `E+` and
# many digits for a decimal that is no JSON number, or out of range; `{"$` for a user's own object
# that reads like an escape; and a nested LINE_START would be taken for the start of a line that a
# torn write left glued to this one.
_SUSPECT: Final = (b"null", b"NaN", b"Infinity", b"E+", b'{"$', LINE_START)
_MANY_DIGITS: Final = 3900
_find_many_digits: Final = re.compile(rb"[0-9]{%d}" % _MANY_DIGITS).search
_find_digit: Final = re.compile(rb"[0-9]").search


def encode_line(event: KnownEvent) -> bytes:
    """Encode an event whose values are plain numbers or `prepared`, LF included.

    Raises:
        Exception: Whatever a value's own conversion raises.
    """
    try:
        return _encode(event) + b"\n"
    except UnicodeEncodeError:  # a name with a lone surrogate: bytes of a path or an argument
        return _encode_fields(event)


def _encode(content: KnownEvent | dict[str, Any]) -> bytes:
    buffer = bytearray()
    encode_into(content, buffer)
    return bytes(buffer)


def _encode_fields(event: KnownEvent) -> bytes:
    """Encode an event field by field, with lone surrogates written as escapes."""
    import json

    parts = [json.dumps(event.__struct_config__.tag)]
    for name in event.__struct_fields__:
        content = getattr(event, name)
        raw = isinstance(content, msgspec.Raw)
        parts.append(f'"{name}":{bytes(content).decode() if raw else json.dumps(content)}')
    return ('{"t":' + ",".join(parts) + "}\n").encode()


def prepare(values: Mapping[str, Any] | msgspec.Raw) -> msgspec.Raw:
    """Encode a map of values exactly, to stand in an event as it is.

    Raises:
        TypeError, ValueError: A value cannot be tracked; the text says why.
    """
    if isinstance(values, msgspec.Raw):
        return values
    if values.__class__ is not dict:
        values = dict(values)
    body = _encode_fast(values) or value_encoding.to_json(values)
    # The same JSON, but a reader that looks for the start of a line does not find one in it.
    return msgspec.Raw(body.replace(LINE_START, b'{ "t":"'))


def _encode_fast(values: dict[str, Any]) -> bytes | None:
    """Encode values, or return None where the exact encoding knows more, or what is wrong."""
    if "pydantic.dataclasses" in sys.modules:
        return None  # msgspec takes them for plain dataclasses, and knows no alias
    try:
        body = _encode(values)
    except Exception as error:
        if comes_from_signal_handler(error):
            raise
        return None
    return None if _needs_care(body) else body


def _needs_care(body: bytes) -> bool:
    if body.count(b"{") + body.count(b"[") > value_encoding.MAX_DEPTH:
        return True
    if any(suspect in body for suspect in _SUSPECT):
        return True
    # So many digits in a row hold one of these, which spares most long texts a slow search.
    probes = body[_MANY_DIGITS - 1 :: _MANY_DIGITS]
    return _find_digit(probes) is not None and _find_many_digits(body) is not None


def as_step(step: Any) -> int:
    """Return the step as an int64.

    Raises:
        TypeError, ValueError: It is no whole number, or beyond an int64.
    """
    try:
        whole = operator.index(step)
    except TypeError:  # a float, of Python or NumPy; text has none to be asked for
        if not hasattr(step, "__float__"):
            raise TypeError(
                f"a step of type {type(step).__qualname__} is not a whole number"
            ) from None
        if not float(step).is_integer():
            raise ValueError(f"step {step!r} is not a whole number") from None
        whole = int(step)
    if not -_INT64 <= whole < _INT64:
        raise ValueError(f"step {whole} does not fit into 64 bits")
    return whole


def prepare_each(
    values: Mapping[str, Any], limit: int, lose: Callable[[Exception], None]
) -> msgspec.Raw:
    """Encode the values that can be, within a limit of bytes; the others cost themselves alone."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        try:
            limit -= len(memoryview(check_size(prepare({key: value}), limit)))
            kept[key] = value
        except Exception as error:  # noqa: BLE001  # a value's own conversion may raise anything
            lose(error)
    return prepare(kept)


def prepare_fields(fields: dict[str, Any], lose: Callable[[Exception], None] | None = None) -> None:
    """Encode the values among an event's fields, and check its step; twice does no harm.

    Args:
        fields: What the event says; changed in place.
        lose: Told of each parameter that cannot be encoded, which then costs itself alone.

    Raises:
        TypeError, ValueError: A value cannot be tracked; the text says why.
    """
    if lose is not None and "parameters" in fields:
        fields["parameters"] = _prepare_parameters(fields["parameters"], lose)
    for name in _VALUE_FIELDS:
        if name in fields:
            fields[name] = prepare(fields[name])
    if "step" in fields:
        fields["step"] = as_step(fields["step"])


def _prepare_parameters(
    parameters: Mapping[str, Any], lose: Callable[[Exception], None]
) -> msgspec.Raw:
    try:
        if not isinstance(parameters, dict | msgspec.Raw):
            parameters = dict(parameters)  # another mapping's cost themselves alone, too
        return check_size(prepare(parameters), _MAX_PARAMETERS_BYTES)
    except Exception as error:  # noqa: BLE001  # a value's own conversion may raise anything
        if not isinstance(parameters, dict) or comes_from_signal_handler(error):
            lose(error)
            return prepare({})
        return prepare_each(parameters, _MAX_PARAMETERS_BYTES, lose)


def check_size(line: Encoded, limit: int = MAX_LINE_BYTES) -> Encoded:
    """Return the line, or a part of one, or raise ValueError when a reader would not take it."""
    size = len(memoryview(line))
    if size > limit:
        raise ValueError(f"it takes {size:,} bytes, of at most {limit:,}")
    return line
