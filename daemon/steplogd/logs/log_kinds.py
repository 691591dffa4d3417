"""The kinds of lines in the daemon's log: a short id that stays, and how urgent each is."""

from __future__ import annotations

import re
import uuid
from typing import Final

SHORT: Final = {
    "archive cannot be read, trying again": "archive-unreadable",
    "batches in flight are left behind, and sent again by the next daemon": "batches-left-behind",
    "configuration refused, the old one stays": "configuration-refused",
    "document cannot be written, trying again": "document-unwritten",
    "end of runs cannot be committed, trying again": "end-uncommitted",
    "home is larger than max_bytes, and nothing more may be freed: the rest is run "
    "logs, spools of runs that go on or that a backend does not have, or not ours": (
        "home-too-large"
    ),
    "lines are lost as the journal did not read": "lines-lost",
    "metrics are not given out, as nobody can listen there: trying again": "metrics-not-given-out",
    "more of this was left out": "left-out",
    "more spools are not as they should be": "more-complaints",
    "names changed for mlflow": "names-changed",
    "no notifications: sweeping every second instead": "no-notifications",
    "run log cannot be committed, trying again": "commit-failed",
    "spools are not folded, trying again": "not-folded",
    "spools cannot be listed, trying again": "spools-unlisted",
    "spools lie on a network file system": "network-file-system",
    "spools cannot be archived, trying again": "spools-unarchived",
    "store is locked, waiting": "store-locked",
    "store set aside: the run logs are folded again from the spools": "store-set-aside",
    "what could not be done is done": "mended",
    "what is to be sent cannot be read, trying again": "owed-unread",
    "what is to be sent is read": "owed-read",
    "what was sent cannot be noted, trying again": "acknowledgement-unnoted",
    "what was sent is noted": "acknowledgement-noted",
}
"""The ids of lines that say more than a few words; a shorter one is its own, with hyphens."""

NOTICES: Final = frozenset(
    [
        "acknowledgement-noted",
        "backend-answers-again",
        "configuration-taken-over",
        "mended",
        "metrics-are-given-out",
        "owed-read",
        "serving",
        "stopped",
    ]
)
"""What an administrator did or waited for, and wants to see among much that is usual."""

_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_NOTICE: Final = 5
_WORDS: Final = re.compile(r"[^a-z0-9]+")
_NAMESPACE: Final = uuid.UUID("5c21c1f4-6f0e-4c53-9d5e-6a1b8f2c7e90")


def kind_of(event: str) -> str:
    """Return the id of a line, which a filter or an alert may rely on: `run-ended`."""
    return SHORT.get(event) or _WORDS.sub("-", event.lower()).strip("-")


def message_id(kind: str) -> str:
    """Return the journal's MESSAGE_ID of a kind; the same in every version."""
    return uuid.uuid5(_NAMESPACE, kind).hex


def priority(kind: str, level: str) -> int:
    """Return syslog's priority of a line: 3 error, 4 warning, 5 notice, 6 information."""
    usual = _PRIORITIES.get(level, _PRIORITIES["info"])
    return min(usual, _NOTICE) if kind in NOTICES else usual
