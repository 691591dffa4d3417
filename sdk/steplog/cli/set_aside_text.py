"""What was set aside of a run's spool, as a table for a terminal or as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from steplog.cli.terminal import align, counted, sanitise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steplog.set_aside import Gap, Piece, SetAside

_HEADER: Final = ("OFFSET", "SIZE", "REASON", "BEGINS WITH")
_MAX_ROWS: Final = 50
_MAX_GAPS: Final = 5
_REASON_CHARACTERS: Final = 120
_EXCERPT_BYTES: Final = 40


def set_aside_lines(found: SetAside) -> Iterator[str]:
    """Yield the lines of a table: each piece, and the numbered lines that are missing."""
    if not found.malformed and not found.missing:
        yield "nothing was set aside"
    if found.pieces:
        yield from align([_HEADER, *map(_row, found.pieces[:_MAX_ROWS])])
    if len(found.pieces) > _MAX_ROWS:
        yield f"and {len(found.pieces) - _MAX_ROWS:,} more: --json has them"
    if found.malformed > len(found.pieces):
        yield f"of {counted(found.malformed, 'piece')} in all; the spool has the others"
    if found.missing:
        missing = counted(found.missing, "numbered line")
        yield f"missing: {missing}{gaps_text(found.gaps, len(found.gaps))}"


def set_aside_object(found: SetAside) -> dict[str, Any]:
    """Return the object that is printed as JSON; bytes that are no UTF-8 are written out."""
    return {
        "run_id": found.run_id,
        "malformed": found.malformed,
        "pieces": [
            {
                "offset": piece.offset,
                "size": piece.size,
                "reason": piece.reason,
                "excerpt": _text(piece.excerpt),
            }
            for piece in found.pieces
        ],
        "missing": found.missing,
        "gaps": [{"w": gap.w, "first": gap.first, "last": gap.last} for gap in found.gaps],
    }


def gaps_text(gaps: Sequence[Gap], limit: int = _MAX_GAPS) -> str:
    """Name gaps, as in `: 5 to 7 of writer 9f3ac1, 2 of writer 51ab07, …`."""
    named = [f"{_numbers(gap)} of writer {sanitise(gap.w)[:40]}" for gap in gaps[:limit]]
    if len(gaps) > limit:
        named.append("…")
    return f": {', '.join(named)}" if named else ""


def _numbers(gap: Gap) -> str:
    return f"{gap.first}" if gap.first == gap.last else f"{gap.first} to {gap.last}"


def _row(piece: Piece) -> tuple[str, ...]:
    begin = sanitise(_text(piece.excerpt[:_EXCERPT_BYTES]))
    has_more = piece.size > _EXCERPT_BYTES
    reason = sanitise(piece.reason)[:_REASON_CHARACTERS]
    return f"{piece.offset}", f"{piece.size}", reason, f"{begin}…" if has_more else begin


def _text(excerpt: bytes) -> str:
    return excerpt.decode("utf-8", "backslashreplace")
