"""Events in, lines out: a fast encoding for what is common, an exact one for everything else."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from steplog import values as value_encoding
from steplog.decoding import LINE_START
from steplog.events import MAX_LINE_BYTES, KnownEvent

_encoder: Final = msgspec.json.Encoder(enc_hook=value_encoding.foreign, decimal_format="number")
_INT64: Final = 2**63
Encoded = TypeVar("Encoded", bytes, msgspec.Raw)

# What the fast encoding may have got wrong: null may stand for NaN or an infinity, `{"$` for a
# user's own object that reads like an escape, and a nested LINE_START would be taken for the start
# of a line that a torn write left glued to this one.
_SUSPECT: Final = (b"null", b"NaN", b"Infinity", b'{"$', LINE_START)


def encode_line(event: KnownEvent) -> bytes:
    """Encode an event whose values are plain numbers or `prepared`, LF included.

    Raises:
        Exception: Whatever a value's own conversion raises.
    """
    return _encoder.encode(event) + b"\n"


def prepare(values: dict[str, Any]) -> msgspec.Raw:
    """Encode a map of values exactly, to stand in an event as it is.

    Raises:
        TypeError, ValueError: A value cannot be tracked; the text says why.
    """
    try:
        body = _encoder.encode(values)
    except Exception:  # noqa: BLE001  # the exact encoding knows more, or says better what is wrong
        body = value_encoding.to_json(values)
    else:
        if _needs_care(body):
            body = value_encoding.to_json(values)
    # The same JSON, but a reader that looks for the start of a line does not find one in it.
    return msgspec.Raw(body.replace(LINE_START, b'{ "t":"'))


def _needs_care(body: bytes) -> bool:
    deep = body.count(b"{") + body.count(b"[") > value_encoding.MAX_DEPTH
    return deep or any(suspect in body for suspect in _SUSPECT)


def as_step(step: Any) -> int:
    """Return the step as an int64.

    Raises:
        TypeError, ValueError: It is no whole number, or beyond an int64.
    """
    if isinstance(step, float) and not step.is_integer():
        raise ValueError(f"step {step!r} is not a whole number")
    whole = int(step) if hasattr(step, "__index__") or isinstance(step, float) else None
    if whole is None:
        raise TypeError(f"a step of type {type(step).__qualname__} is not a whole number")
    if not -_INT64 <= whole < _INT64:
        raise ValueError(f"step {whole} does not fit into 64 bits")
    return whole


def check_size(line: Encoded) -> Encoded:
    """Return the line, or raise ValueError when it is longer than a reader takes."""
    size = len(memoryview(line))
    if size > MAX_LINE_BYTES:
        raise ValueError(f"the event takes {size:,} bytes; a line has at most {MAX_LINE_BYTES:,}")
    return line
