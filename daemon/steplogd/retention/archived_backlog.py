"""What is to be folded of archived spools, seen from outside: all, after the store was lost."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from steplogd.intake.tail import read_chunk
from steplogd.retention.compression import CompressedSpool
from steplogd.retention.recovery import pages

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from steplogd.folding.spools import Unfolded
    from steplogd.retention.archive import Archive, Place
    from steplogd.store.archived import Archived


def add_archived(
    left: Unfolded, archive: Archive, archived: Archived, places: Iterable[Place]
) -> list[Place]:
    """Add to what is to be folded what is of these archived spools; changes no file.

    Args:
        left: What is to be folded of spools; it is added to.
        archive: Where they lie.
        archived: The store.
        places: Which of them are looked at.

    Returns:
        Those of which something is to be folded, or which cannot be read.

    Raises:
        StoreError: The store cannot be read now.
    """
    found: list[Place] = []
    for page, known in pages(places, archived):
        for place in page:
            spool = known.get((place.run_id, place.number))
            offset = spool.offset if spool else 0
            is_unread = spool is None or spool.state == "unread"
            if is_unread and _add(left, place, archive.path(place), offset):
                found.append(place)
    return found


def _add(left: Unfolded, place: Place, path: Path, offset: int) -> bool:
    try:
        size = path.lstat().st_size
        if not _has_lines(path, offset, is_compressed=place.is_compressed):
            return False
    except FileNotFoundError:
        return False
    except OSError as error:
        left.unreadable[place.run_id] = f"{path}: {error.strerror or error}"
        return True
    beyond = size if place.is_compressed else size - offset
    left.size_bytes[place.run_id] = left.size_bytes.get(place.run_id, 0) + beyond
    return True


def _has_lines(path: Path, offset: int, *, is_compressed: bool) -> bool:
    if not is_compressed:
        return bool(read_chunk(path, offset).lines)
    with contextlib.closing(CompressedSpool(path)) as spool:
        return bool(spool.chunk(offset).lines)
