"""JSON documents that are made while they are written, so that none ever lies in memory whole."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final

from steplog.values import MAX_PLAIN_BITS, nonfinite_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

INDENT: Final = "    "
WRITE_CHARACTERS: Final = 64 * 1024
"""About how much is handed to one call of `write`: large enough that the calls do not matter."""


class Members:
    """An object of a document, its members made one by one; to be walked once, in order."""

    def __init__(self, members: Iterable[tuple[str, Any]]) -> None:
        self.members = members


class Items:
    """An array of a document, its items made one by one; to be walked once, in order."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = items


def materialise(node: Any) -> Any:
    """Return the document as dicts and lists; a value within it stays what it is."""
    if isinstance(node, Members):
        return {name: materialise(member) for name, member in node.members}
    if isinstance(node, Items):
        return [materialise(item) for item in node.items]
    if isinstance(node, dict):
        return {name: materialise(member) for name, member in node.items()}
    return [materialise(item) for item in node] if isinstance(node, list) else node


def write_json(node: Any, write: Callable[[str], object]) -> None:
    """Write the document as indented JSON in ASCII, with an LF at the end, piece by piece.

    NaN and infinities become the strings "NaN", "Infinity", "-Infinity"; an integer with more
    digits than JSON readers take becomes a string in hex, "0x…".
    """
    pieces: list[str] = []
    size = 0
    for piece in _pieces(node, "\n"):
        pieces.append(piece)
        size += len(piece)
        if size >= WRITE_CHARACTERS:
            write("".join(pieces))
            pieces.clear()
            size = 0
    write("".join([*pieces, "\n"]))


def quote(text: str) -> str:
    """Return the text as a JSON string in ASCII; lone surrogates and control characters escaped."""
    return encode_basestring_ascii(text)


def _pieces(node: Any, margin: str) -> Iterator[str]:
    if isinstance(node, (dict, Members)):
        members = node.items() if isinstance(node, dict) else node.members
        yield from _joined(
            "{", ((quote(name) + ": ", value) for name, value in members), "}", margin
        )
    elif isinstance(node, (list, tuple, Items)):
        items = node.items if isinstance(node, Items) else node
        yield from _joined("[", (("", item) for item in items), "]", margin)
    else:
        yield _SCALARS[type(node)](node)


def _joined(
    opening: str, entries: Iterable[tuple[str, Any]], closing: str, margin: str
) -> Iterator[str]:
    inner = margin + INDENT
    start = opening
    for name, value in entries:
        scalar = _SCALARS.get(type(value))
        if scalar:
            yield f"{start}{inner}{name}{scalar(value)}"
        else:
            yield f"{start}{inner}{name}"
            yield from _pieces(value, inner)
        start = ","
    yield opening + closing if start == opening else margin + closing


def _float(value: float) -> str:
    if value - value == 0.0:  # faster than math.isfinite, and false for all that is not finite
        return repr(value)
    return f'"{nonfinite_name(value)}"'


def _int(value: int) -> str:
    return str(value) if value.bit_length() <= MAX_PLAIN_BITS else f'"{value:#x}"'


_SCALARS: Final[dict[type, Callable[[Any], str]]] = {
    float: _float,
    int: _int,
    str: quote,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}
