"""A line of the log as an entry of the journal: a sentence to read, and fields to ask for."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from steplog.cli.terminal import sanitise
from steplogd.logs.log_kinds import kind_of, message_id, priority

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAMES: Final = {"run": "RUN_ID", "backend": "BACKEND"}
_PREFIX: Final = "STEPLOG_"
_LONGEST_NAME: Final = 64
_NO_NAME: Final = re.compile(r"[^A-Z0-9_]+")
_NOT_TOLD: Final = ("event", "level", "timestamp")
"""The sentence, the priority and the journal's own time have these."""

_MOST_ITEMS: Final = 100


def entry(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a line that was logged, in the order of the protocol's own first.

    `run` becomes RUN_ID and `backend` BACKEND; all others have the prefix STEPLOG_. A list is a
    field that comes once for each item, as the journal has it.
    """
    kind = kind_of(str(told.get("event", "")))
    yield "MESSAGE", sentence(told)
    yield "PRIORITY", str(priority(kind, str(told.get("level", "info"))))
    yield "SYSLOG_IDENTIFIER", "steplogd"
    yield "MESSAGE_ID", message_id(kind)
    yield "EVENT", kind
    for key, value in told.items():
        if key not in _NOT_TOLD:
            items = value[:_MOST_ITEMS] if isinstance(value, (list, tuple)) else [value]
            yield from ((field_name(key), _text(item)) for item in items)


def sentence(told: Mapping[str, Any]) -> str:
    """Return what a person reads: what happened, why, and of what, on one line.

    The journal's reader shows nothing of a message with a control character in it.
    """
    about = [f"{key}={_text(told[key])}" for key in told if key not in (*_NOT_TOLD, "reason")]
    why = f": {_text(told['reason'])}" if "reason" in told else ""
    of_what = f" ({', '.join(about)})" if about else ""
    return sanitise(f"{told.get('event', '')}{why}{of_what}")


def field_name(key: str) -> str:
    """Return the journal's name for a field: upper-case letters, digits and underscores."""
    plain = _NO_NAME.sub("_", key.upper())
    return _NAMES.get(key) or f"{_PREFIX}{plain}"[:_LONGEST_NAME]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=repr)
