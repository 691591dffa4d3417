"""What `export -p` of dash or bash prints, read back: the names, and the values unquoted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORD: Final = rb"""(?:\$'(?:[^\\']|\\.)*'|'[^']*'|"(?:[^\\"]|\\.)*"|\\.|[^\s'"\\])*"""
_DECLARATION: Final = re.compile(
    rb"^(?:export|declare -[a-zA-Z]*x[a-zA-Z]*) ([A-Za-z_][A-Za-z0-9_]*)=(%b)$" % _WORD,
    re.DOTALL | re.MULTILINE,
)
_PIECE: Final = re.compile(
    rb"""\$'((?:[^\\']|\\.)*)'|'([^']*)'|"((?:[^\\"]|\\.)*)"|\\(.)|([^\s'"\\])""", re.DOTALL
)
_IN_ANSI: Final = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_IN_DOUBLE: Final = re.compile(rb'\\([$`"\\])')
_LETTERS: Final = {b"a": b"\a", b"b": b"\b", b"e": b"\x1b", b"E": b"\x1b", b"f": b"\f"} | {
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}


def exported(listing: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the value of each variable that a listing gives a value."""
    for declaration in _DECLARATION.finditer(listing):
        yield declaration[1], b"".join(map(_unquote, _PIECE.finditer(declaration[2])))


def _unquote(piece: re.Match[bytes]) -> bytes:
    ansi, single, double, *plain = piece.groups()
    if ansi is not None:
        return _IN_ANSI.sub(_unescape, ansi)
    if double is not None:
        return _IN_DOUBLE.sub(rb"\1", double)
    return single or b"".join(filter(None, plain))


def _unescape(escape: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = escape.groups()
    if letter is not None:
        return _LETTERS.get(letter, letter)
    return bytes([int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)])
