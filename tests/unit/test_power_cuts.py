"""A start after a power cut that took the store's last commits, and not what was done to files."""

from __future__ import annotations

import shutil

from tests.shelf import PLACE, Shelf, all_steps


def keep_copy(shelf: Shelf) -> None:
    """Copy the store as it is now."""
    with shelf.database.reading() as connection:
        connection.execute("VACUUM INTO ?", (str(shelf.home / "copy.db"),))


def cut_power(shelf: Shelf) -> None:
    """Let a daemon start with the store as it was when it was copied."""
    shelf.close()
    shelf.database.close()
    for path in shelf.home.glob("steplog.db*"):
        path.unlink()
    shutil.copy(shelf.home / "copy.db", shelf.home / "steplog.db")
    shelf.open_store()
    shelf.start()


def compress(shelf: Shelf, *, is_unlinked: bool = True) -> int:
    """Compress the archived spool without a word to the store; return how large it was."""
    path = shelf.archive.path(PLACE)
    content = path.read_bytes()
    shelf.archive.compress(PLACE, len(content), lambda: None)
    if not is_unlinked:
        path.write_bytes(content)
    return len(content)


def test_one_that_lies_there_twice_and_is_not_known_counts_once(shelf: Shelf) -> None:
    """Once it is known as it was, it is not another one that lies there compressed."""
    keep_copy(shelf)
    shelf.take()
    size = compress(shelf, is_unlinked=False)
    cut_power(shelf)

    assert shelf.fold() == all_steps()
    assert shelf.row() == (size, "resting")
