"""Bytes of a spool in, events out: framing, decoding, and recovery from torn lines. Pure."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final

import msgspec

from steplog import values
from steplog.events import (
    Catalog,
    Code,
    End,
    Join,
    KnownEvent,
    Leave,
    Lost,
    Malformed,
    Number,
    Open,
    Start,
    Timestamp,
    Track,
    Unknown,
)

LINE_START: Final = b'{"t":"'
"""How every line of ours begins; it cannot occur inside a JSON string, where `"` is escaped."""

AnyEvent = KnownEvent | Unknown | Malformed

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_KINDS: Final = ("open", "join", "leave", "start", "end", "track", "catalog", "code", "lost")
_known: Final[msgspec.json.Decoder[KnownEvent]] = msgspec.json.Decoder(KnownEvent)


class _Common(msgspec.Struct, frozen=True):
    """The least that a line of a kind we do not know has in common with ours."""

    t: str
    w: str = ""
    n: Number = -1
    ts: Timestamp = 0


def complete(chunk: bytes) -> int:
    """Return how many bytes of the chunk are whole lines: up to the last LF, and with it."""
    return chunk.rfind(b"\n") + 1


def decode(lines: bytes, offset: int = 0) -> list[AnyEvent]:
    """Decode whole lines of a spool.

    Never raises: what is no event comes back as `Malformed`, and a torn write costs no more than
    itself, also when the next line was glued to it.

    Args:
        lines: Bytes that end with an LF.
        offset: Where they begin in the spool.

    Returns:
        The events in the order of the lines; an empty line is none.
    """
    try:
        known = _known.decode_lines(lines)
    except (ValueError, RecursionError):  # one bad line spoils the chunk: take each by itself
        return _each_line(lines, offset)
    if b"$" in lines or _nests(lines, known) or not _is_one_each(lines, len(known)):
        return _each_line(lines, offset)
    return list(known)


def _nests(lines: bytes, known: list[KnownEvent]) -> bool:
    """Tell whether some value may nest deeper than `MAX_DEPTH`, going by the brackets in all."""
    flat = len(known) + [event.__class__ for event in known].count(Track)
    # To find none is thirty times as fast as to count them, and most lines have none.
    brackets = lines.count(b"{") + (lines.count(b"[") if b"[" in lines else 0)
    if brackets <= flat + values.MAX_DEPTH:
        return False
    paths = [isinstance(event, Track) and isinstance(event.task, tuple) for event in known]
    return brackets > flat + sum(paths) + values.MAX_DEPTH


def _is_one_each(lines: bytes, count: int) -> bool:
    """Tell whether each line holds one event.

    msgspec also takes two events on one line, and one event on two; then what comes out would hang
    on where the bytes were cut. `}`, LF and `{` in a row occur only between two events.
    """
    return count == lines.count(b"\n") == lines.count(b"}\n{") + 1


def _each_line(lines: bytes, offset: int) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    for line in lines.split(b"\n"):
        if line and not line.isspace():
            events.extend(_line(line, offset))
        offset += len(line) + 1
    return events


def _line(line: bytes, offset: int) -> list[AnyEvent]:
    """Decode one line, and every event in it that a torn write left without an LF."""
    event = _event(line, offset)
    if not isinstance(event, Malformed) or line.rfind(LINE_START) <= 0:
        return [event]
    pieces = [_event(line[start:end], offset + start) for start, end in _pieces(line)]
    events: list[AnyEvent] = []
    for is_torn, group in groupby(pieces, lambda piece: isinstance(piece, Malformed)):
        neighbours = list(group)
        events.extend([_joined(neighbours)] if is_torn else neighbours)
    return events


def _joined(torn: list[AnyEvent]) -> AnyEvent:
    """Make one of neighbouring pieces that are no event."""
    whole = b"".join(piece.line for piece in torn if isinstance(piece, Malformed))
    return msgspec.structs.replace(torn[0], line=whole)


def _pieces(line: bytes) -> list[tuple[int, int]]:
    """Cut a torn line before everything that looks like the start of one."""
    cuts = [0]
    while (cut := line.find(LINE_START, cuts[-1] + 1)) > 0:
        cuts.append(cut)
    return list(zip(cuts, [*cuts[1:], len(line)], strict=True))


def _event(line: bytes, offset: int) -> AnyEvent:
    if reason := _no_object(line):
        return Malformed(offset=offset, line=line, reason=reason)
    try:
        try:
            return _exact(_known.decode(line), line)
        except msgspec.DecodeError:
            return _tolerant(line)
    except (ValueError, RecursionError, OverflowError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Malformed(offset=offset, line=line, reason=reason)


def _no_object(line: bytes) -> str:
    """Say at a glance why a line is none: to have a parser refuse it takes ten times as long."""
    text = line.strip()
    if not text.startswith((b"{", _BYTE_ORDER_MARK)):
        return "a line is one JSON object, and this does not begin as one"
    if not text.endswith(b"}"):
        return "a line is one JSON object, and this does not end as one; was it torn?"
    return ""


def _tolerant(line: bytes) -> AnyEvent:
    """Decode what msgspec refuses: kinds that we do not know, bare NaN, lone surrogates."""
    plain = values.load(line)
    if not isinstance(plain, dict):
        raise ValueError("a line is one JSON object")  # noqa: TRY004  # the line is bad, not a type
    if plain.get("t") in _KINDS:
        event: KnownEvent = msgspec.convert(plain, KnownEvent)
        return _exact(event, line)
    common = msgspec.convert(plain, _Common)
    return Unknown(kind=common.t, w=common.w, n=common.n, ts=common.ts)


def _exact(event: KnownEvent, line: bytes) -> KnownEvent:
    """Undo the escapes of the value encoding, and refuse what nests too deeply for readers."""
    maps = _maps(event)
    if not maps:
        return event
    if line.count(b"{") + line.count(b"[") > values.MAX_DEPTH:
        for value in (value for content in maps.values() for value in content.values()):
            values.check_depth(value)
    if b'"$' not in line:
        return event
    exact = {
        field: {key: values.from_json(value) for key, value in content.items()}
        for field, content in maps.items()
    }
    return msgspec.structs.replace(event, **exact)


def _maps(event: KnownEvent) -> dict[str, dict[str, Any]]:
    """Return the fields of an event that hold values of the user, by name."""
    match event:
        case Track():
            return {"values": event.values}
        case Start():
            return {"parameters": event.parameters}
        case Join():
            return {"parameters": event.parameters, "config": event.config}
        case Open() | Leave() | End() | Catalog() | Code() | Lost():
            return {}
