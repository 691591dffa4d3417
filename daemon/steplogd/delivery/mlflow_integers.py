"""Integers that no double equals are kept whole beside their metric, a batch's to a document.

A document is JSON lines, one for each such observation. It is named by the positions in the run log
that it holds and by its content, and never changes: what is sent again in the same cut is the same
document, in another cut it is one more, with lines that are there already and say the same. So a
request that reaches the server late, when its lines were sent again long since and others too, can
take nothing away. Half a line, which a crash left, counts as none.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from steplog.values import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steplogd.delivery.contract import Observation

FOLDER: Final = "steplog/integers"
"""Where the documents lie among a run's artifacts."""


def document_of(batch: Sequence[Observation]) -> tuple[str, bytes]:
    """Return the path and the content of the document for these observations."""
    content = b"".join(line_of(seen) + b"\n" for seen in batch)
    positions = [seen.position for seen in batch]
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"{FOLDER}/{min(positions)}-{max(positions)}-{digest}.jsonl", content


def line_of(seen: Observation) -> bytes:
    """Return the line of an observation, without a newline: it holds none."""
    return to_json(msgspec.structs.asdict(seen))
