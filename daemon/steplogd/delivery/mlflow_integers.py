"""Integers that no double equals are kept whole beside their metric, many to a document.

A document is JSON lines, one for each such observation among 1,000 positions of the run log; so a
long series of them, nanoseconds say, leaves few documents, however small its batches are. A line
and its document follow from the observation alone, and a line that is there already is not added
again: what is sent again, in whatever cuts, changes nothing. Documents are rewritten in place: a
crash within that moment may cost lines that were there, which `steplogd replay` sends again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from steplog.values import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steplogd.delivery.contract import Observation

FOLDER: Final = "steplog/integers"
"""Where the documents lie among a run's artifacts."""

POSITIONS_PER_DOCUMENT: Final = 1000
"""Each batch rewrites the document it adds to: some 100 kB when full."""


def path_for(position: int) -> str:
    """Return the path of the document for an observation at this position."""
    first = position - (position - 1) % POSITIONS_PER_DOCUMENT
    return f"{FOLDER}/{first}-{first + POSITIONS_PER_DOCUMENT - 1}.jsonl"


def line_of(seen: Observation) -> bytes:
    """Return the line of an observation, without a newline: it holds none."""
    return to_json(msgspec.structs.asdict(seen))


def merged(document: bytes, lines: Iterable[bytes]) -> bytes:
    """Return a document with these lines too; half a line, which a crash left, is dropped."""
    *whole, _ = document.split(b"\n")
    return b"".join(line + b"\n" for line in dict.fromkeys((*whole, *lines)))
