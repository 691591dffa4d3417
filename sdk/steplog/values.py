"""The value encoding: how any tracked value becomes JSON, and comes back as what went in.

JSON has no NaN and no infinities, and readers bound the digits of an integer. Such values travel
as an object with one member whose name begins with `$`; a user's own object of that shape gets its
name escaped with a second `$`. FORMAT.md has the rules with examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from decimal import Decimal

MAX_DEPTH: Final = 100
"""How deep lists and objects may nest within a value, so that no reader runs out of stack."""

MAX_PLAIN_BITS: Final = 13_000
"""Longer integers travel in hex: CPython refuses to parse more than 4,300 decimal digits."""

_NONFINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_SHOWN_AS_TEXT: Final = ("pydantic", "pydantic_core", "ipaddress")
"""Whose other types stand for a text: URLs, addresses, and secrets, whose text is asterisks."""

_encode_into: Final = msgspec.json.Encoder().encode_into
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1


def to_json(values: dict[str, Any]) -> bytes:
    """Encode a map of keys to values of any kind, exactly.

    Raises:
        TypeError: A value, or something within it, is of a kind that cannot be tracked.
        ValueError: It nests deeper than `MAX_DEPTH`, or within itself.
    """
    try:
        plain = {_key(key): _plain(value, MAX_DEPTH) for key, value in values.items()}
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    return _dump(plain)


def from_json(value: Any) -> Any:
    """Undo the escapes in a decoded value; the result is what was tracked."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, content),) = value.items()
        if name.startswith("$"):
            return _unescape(name, content)
    return {name: from_json(content) for name, content in value.items()}


def map_from_json(text: str | bytes) -> dict[str, Any]:
    """Undo `to_json`: return the values by key."""
    plain = load(text if isinstance(text, bytes) else text.encode())
    return {key: from_json(value) for key, value in plain.items()}


def to_column(value: Any) -> float | int | str:
    """Turn a decoded value into what SQLite keeps without loss: a number, or else JSON text."""
    if value.__class__ is float and value == value:  # SQLite takes infinities, but no NaN
        return value
    if value.__class__ is int and _INT64_MIN <= value <= _INT64_MAX:
        return value
    return _dump(_plain(value, MAX_DEPTH)).decode()


def from_column(column: float | int | str) -> Any:
    """Undo `to_column`."""
    return from_json(load(column.encode())) if isinstance(column, str) else column


def load(text: bytes) -> Any:
    """Decode JSON, with the bare tokens NaN and Infinity, and with lone surrogates.

    Raises:
        ValueError: It is not JSON, or not UTF-8.
        RecursionError: It is nested too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        import json  # only the rare line needs it, and it would double the cost of our import

        return json.loads(text)


def nonfinite_name(value: float) -> str:
    """Return how NaN or an infinity is written wherever JSON has no number for it."""
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def check_depth(value: Any, depth: int = MAX_DEPTH) -> None:
    """Raise ValueError when a decoded value nests deeper than `depth` levels."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)):
        return
    if depth == 0:
        raise ValueError(f"the value nests deeper than {MAX_DEPTH} levels")
    for item in inner:
        check_depth(item, depth - 1)


def foreign(value: Any) -> Any:
    """Turn an object that msgspec does not know into one that it does.

    Subclasses into their builtin base, NumPy and PyTorch scalars by their own `.item()`, arrays by
    `.tolist()`, pydantic models by alias, its URLs and secrets and paths as text; without importing
    any of their packages.

    Raises:
        TypeError: The object is none of these.
    """
    if isinstance(value, str):
        return str.__str__(value)  # a subclass may show itself as another text
    bases: tuple[type[Any], ...] = (float, int, dict, list, tuple)
    for base in bases:
        if isinstance(value, base):
            return base(value)
    kind = type(value)
    if hasattr(kind, "model_dump"):  # pydantic 2
        return kind.model_dump(value, by_alias=True)
    if hasattr(kind, "__fields__") and hasattr(kind, "dict"):  # pydantic 1
        fields = kind.dict(value, by_alias=True)
        return fields["__root__"] if "__root__" in kind.__fields__ else fields
    if kind.__module__.partition(".")[0] in _SHOWN_AS_TEXT:
        return str(value)
    if hasattr(value, "__fspath__"):
        import os

        return os.fsdecode(value)
    if hasattr(value, "item") and not isinstance(value, type):
        return _array(value)
    if hasattr(value, "__float__") and not isinstance(value, type):
        return float(value)
    raise TypeError(f"a value of type {kind.__module__}.{kind.__qualname__} cannot be tracked")


def _array(value: Any) -> Any:
    try:
        item = value.item()
    except (TypeError, ValueError, RuntimeError):  # more than one element, in NumPy's, PyTorch's…
        if not hasattr(value, "tolist"):
            raise
        return value.tolist()
    return float(item) if type(item) is type(value) else item  # numpy.longdouble returns itself


def _plain(value: Any, depth: int) -> Any:
    """Reduce a value to None, bool, int, float, str, list and dict, with escapes."""
    kind = value.__class__
    if kind in (str, bool) or value is None:
        return value
    if kind is float:
        return value if value - value == 0.0 else {"$float": nonfinite_name(value)}
    if kind is int:
        return value if value.bit_length() <= MAX_PLAIN_BITS else {"$int": hex(value)}
    if depth == 0:
        raise ValueError(f"the value nests deeper than {MAX_DEPTH} levels")
    if kind is dict:
        plain = {_key(key): _plain(item, depth - 1) for key, item in value.items()}
        return {f"${name}": x for name, x in plain.items()} if _looks_escaped(plain) else plain
    if kind in (list, tuple, set, frozenset):
        return [_plain(item, depth - 1) for item in value]
    return _plain(_builtin(value), depth)


def _builtin(value: Any) -> Any:
    """Reduce anything else by one layer or more: enums, dataclasses, datetimes, foreign objects."""
    from decimal import Decimal
    from enum import Enum

    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return _number(value)
    if "__is_pydantic_dataclass__" in vars(type(value)):
        return type(value).__pydantic_serializer__.to_python(value, by_alias=True)
    if hasattr(value, "__dataclass_fields__"):
        import dataclasses  # the program has it already

        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    reduced = msgspec.to_builtins(value, enc_hook=foreign, builtin_types=(Decimal,))
    if reduced is value:
        raise TypeError(f"a value of type {type(value).__qualname__} cannot be tracked")
    return reduced


def _number(value: Decimal) -> int | float:
    """Return a decimal as the number that it reads like: 3 is an int, 3.0 a float."""
    if value.is_nan():
        return float("nan")
    if value.is_infinite() or value.as_tuple().exponent < 0:  # type: ignore[operator]
        return float(value)
    if value.adjusted() > MAX_PLAIN_BITS:
        raise ValueError(f"the decimal has {value.adjusted() + 1:,} digits")
    return int(value)


def _key(key: Any) -> str:
    if key.__class__ is str:
        return key
    if key is None:
        return "None"
    try:
        (text,) = msgspec.to_builtins({key: None}, str_keys=True)
    except TypeError:
        plain = foreign(key)  # a scalar of NumPy or PyTorch
        if not isinstance(plain, (str, bool, int, float)):
            name = type(key).__qualname__
            raise TypeError(f"a key of type {name} cannot be tracked; keys are text") from None
        return str(plain)
    return str.__str__(text)


def _looks_escaped(plain: dict[str, Any]) -> bool:
    return len(plain) == 1 and next(iter(plain)).startswith("$")


def _unescape(name: str, content: Any) -> Any:
    if name == "$float" and isinstance(content, str) and content in _NONFINITE:
        return _NONFINITE[content]
    if name == "$int" and isinstance(content, str):
        try:
            return int(content, 16)
        except ValueError:
            return {name: content}
    return {name.removeprefix("$") if name.startswith("$$") else name: from_json(content)}


def _dump(plain: Any) -> bytes:
    try:
        buffer = bytearray()
        _encode_into(plain, buffer)  # `encode` crashes where memory is short
        return bytes(buffer)
    except UnicodeEncodeError:  # a lone surrogate, which JSON writes as an escape
        import json

        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()
