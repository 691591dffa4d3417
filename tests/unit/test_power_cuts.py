"""A start after a power cut that took the store's last commits, and not what was done to files."""

from __future__ import annotations

import shutil

import pytest

from tests.lines import line
from tests.shelf import PLACE, STEPS, Shelf, all_steps


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


@pytest.mark.parametrize("starts", [1, 2])
def test_a_late_line_of_one_that_was_compressed_since_is_folded(shelf: Shelf, starts: int) -> None:
    """The store has it for one that rests without it; and what is unread stays so over a kill."""
    shelf.take()
    keep_copy(shelf)
    with shelf.archive.path(PLACE).open("ab") as late:
        late.write(line("track", step=STEPS, values={"x": 1}))
    shelf.line.look_again("r", 1)
    shelf.fold()
    size = compress(shelf)
    cut_power(shelf)
    for _ in range(starts - 1):
        shelf.start()

    assert shelf.fold() == all_steps(STEPS + 1)
    assert shelf.row() == (size, "compressed")
