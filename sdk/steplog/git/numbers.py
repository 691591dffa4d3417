"""Numbers of varying length, as git writes them in packs and in the index."""

from __future__ import annotations

from typing import Final

_MAX_NUMBER: Final = 2**64
"""Beyond what any file has; broken bytes would be read as a number of megabytes."""


def read_number(source: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, lowest first, and where it ends."""
    number = shift = 0
    while True:
        byte = source[at]
        number = _check(number | (byte & 0x7F) << shift)
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return number, at


def read_offset(source: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, highest first, and where it ends.

    A byte that is not the first adds one to what came before, so that no number has two spellings.
    """
    byte = source[at]
    number = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = source[at]
        number = _check((number + 1) << 7 | byte & 0x7F)
    return number, at + 1


def read_sparse(source: bytes, at: int, present: int, count: int) -> tuple[int, int]:
    """Return a number of up to `count` bytes, lowest first; `present` has a bit for each."""
    number = 0
    for k in range(count):
        if present >> k & 1:
            number |= source[at] << 8 * k
            at += 1
    return number, at


def _check(number: int) -> int:
    if number >= _MAX_NUMBER:
        raise ValueError("a number has no end")
    return number
