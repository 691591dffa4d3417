"""How a key is named in any tracker, and how a name that a tracker does not take is rewritten."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re


def full_name(task: tuple[str, ...], key: str) -> str:
    """Return the key, below the path of its task if that is nested in another."""
    return key if len(task) <= 1 else "/".join((*task, key))


def hex_escape(found: re.Match[str]) -> str:
    """Return what stands for one character that a tracker does not take: `_x25_` for `%`."""
    return f"_x{ord(found[0]):02X}_"


def shortened(text: str, original: str, limit: int) -> str:
    """Return a text of at most `limit` characters: a longer one ends in a mark of the original.

    Args:
        text: The name as the tracker takes it.
        original: What it stands for, whose digest keeps names apart that begin alike.
        limit: The most characters; more than the mark has.
    """
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    mark = f"-_xHASH{digest}_"  # the dash keeps an escape that was cut apart from the mark
    return text[: limit - len(mark)] + mark
