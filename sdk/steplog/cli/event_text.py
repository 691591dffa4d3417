"""An event of a spool as one line of text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steplog.cli.terminal import paint, sanitise, show_pairs
from steplog.events import (
    Catalog,
    Code,
    End,
    Join,
    Leave,
    Lost,
    Malformed,
    Open,
    Start,
    Track,
    Unknown,
    task_path,
)
from steplog.times import show_time

if TYPE_CHECKING:
    from steplog.decoding import AnyEvent

_TIME_OF_DAY: Final = slice(11, 23)
_NO_TIME: Final = "--:--:--.---"
_TEXT_CHARACTERS: Final = 200
_EXCERPT_BYTES: Final = 80

_RED, _GREEN, _YELLOW, _CYAN = 31, 32, 33, 36
_COLOURS: Final[dict[type, int]] = {
    Track: _GREEN,
    Start: _CYAN,
    End: _CYAN,
    Lost: _RED,
    Malformed: _RED,
    Unknown: _YELLOW,
}


def describe(event: AnyEvent, *, has_colours: bool = False) -> str:
    """Return time, kind, task and what the event says; safe for a terminal, without an LF."""
    kind = f"{_kind(event):<7}"
    colour = _COLOURS.get(type(event)) if has_colours else None
    if colour is not None:
        kind = paint(kind, colour)
    path = _path(event)
    parts = [_time_of_day(event), kind, ".".join(path), _said(event)]
    return "  ".join([*parts[:2], *(sanitise(part) for part in parts[2:] if part)]).rstrip()


def _kind(event: AnyEvent) -> str:
    if isinstance(event, (Malformed, Unknown)):
        return "bad" if isinstance(event, Malformed) else "unknown"
    return type(event).__name__.lower()


def _time_of_day(event: AnyEvent) -> str:
    if isinstance(event, Malformed) or event.ts <= 0:
        return _NO_TIME
    return show_time(event.ts)[_TIME_OF_DAY] or _NO_TIME


def _path(event: AnyEvent) -> tuple[str, ...]:
    if isinstance(event, (Track, Start, End, Catalog, Code)) and event.task:
        return task_path(event.task)
    return ()


def _said(event: AnyEvent) -> str:
    match event:
        case Track():
            return f"step {event.step}  {show_pairs(event.values, _TEXT_CHARACTERS)}"
        case Start():
            about = {"step_type": event.step_type, "mock": event.mock}
            said = {name: one for name, one in about.items() if one}
            return show_pairs({**said, **event.parameters}, _TEXT_CHARACTERS)
        case Join():
            tag = {"tag": event.tag} if event.tag else {}
            return show_pairs({**tag, **event.parameters}, _TEXT_CHARACTERS)
        case End() | Leave():
            return f"{event.status} {event.message}"
        case Open():
            return f"writer {event.w}, process {event.pid} on {event.host}"
        case Catalog():
            return f"{event.stage} {event.name} {event.data_hash}"
        case Code():
            return f"{event.code_identifier_type} {event.code_identifier}"
        case Lost():
            return f"{event.count} calls could not be recorded: {event.reason}"
        case Unknown():
            return f"a line of the kind {event.kind}, which this version does not know"
        case Malformed():
            return f"at byte {event.offset}: {event.reason}: {_excerpt(event.line)}"


def _excerpt(line: bytes) -> str:
    shown = line[:_EXCERPT_BYTES].decode("utf-8", "backslashreplace")
    return shown if len(line) <= _EXCERPT_BYTES else f"{shown}… ({len(line):,} bytes)"
