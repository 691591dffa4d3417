"""Text for a terminal: nothing that was tracked can move its cursor or change its colours."""

from __future__ import annotations

import os
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, TextIO

from steplog.values import MAX_PLAIN_BITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_NONFINITE: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_SHORT_FLOAT: Final = ".6g"


def sanitise(text: str) -> str:
    r"""Return the text with all that is not printable written out, such as `\x1b` or `\u202e`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_value(value: Any, limit: int) -> str:
    """Return a value on one line, much like JSON; cut to about `limit` characters."""
    shown = _show(value)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def show_pairs(values: dict[str, Any], limit: int) -> str:
    """Return `key=value …`, each value cut to about `limit` characters."""
    return " ".join(f"{sanitise(key)}={show_value(value, limit)}" for key, value in values.items())


def show_short(value: Any, limit: int) -> str:
    """Return a value for a table: a float to six digits, everything else as `show_value`."""
    if isinstance(value, float) and value - value == 0.0:
        return format(value, _SHORT_FLOAT)
    return show_value(value, limit)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, as in `1 run` and `2,000 runs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lay the rows out in columns, two spaces apart; no row ends with spaces."""
    columns = zip_longest(*rows, fillvalue="")
    widths = [max(len(cell) for cell in column) for column in columns]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
        yield "  ".join(cells).rstrip()


def is_coloured(stream: TextIO) -> bool:
    """Tell whether the stream is a terminal whose user has not asked for plain text."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: int) -> str:
    """Return the text in one of a terminal's colours."""
    return f"\x1b[{colour}m{text}\x1b[0m"


def _show(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float):
        return repr(value) if value - value == 0.0 else _NONFINITE[repr(value)]
    if isinstance(value, int):
        return str(value) if value.bit_length() <= MAX_PLAIN_BITS else hex(value)
    if isinstance(value, dict):
        return _listed("{", (f"{_quoted(k)}: {_show(v)}" for k, v in value.items()), "}")
    return _listed("[", (_show(item) for item in value), "]")


def _listed(opening: str, items: Iterable[str], closing: str) -> str:
    return f"{opening}{', '.join(items)}{closing}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{sanitise(escaped)}"'
