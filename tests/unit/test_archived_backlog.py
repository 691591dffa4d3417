"""What is to be folded of archived spools, as those see it who ask beside a daemon."""

from __future__ import annotations

import pytest

from steplogd.bystander import Bystander
from steplogd.commands.status import read_status
from steplogd.config import Config, Settings
from tests.shelf import PLACE, Shelf


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_lost_store_has_all_of_the_archive_to_fold(shelf: Shelf, is_compressed: bool) -> None:
    """Who waits for a daemon is not told that all is done, nor is who asks for the status."""
    shelf.take()
    path = shelf.archive.path(PLACE)
    size = path.stat().st_size
    if is_compressed:
        size = shelf.archive.compress(PLACE, size, lambda: None)
    shelf.lose_store()
    config = Config(shelf.home, Settings())
    bystander = Bystander(config)
    before = bystander.is_done(), bystander.remaining().spool_bytes, shelf.line.backlog_bytes()
    status = read_status(config)
    shelf.fold()

    assert before == (False, size, size)
    assert status.spool_bytes == size
    assert bystander.remaining().spool_bytes == shelf.line.backlog_bytes() == 0
    assert read_status(config).spool_bytes == 0
    bystander.close()


def test_what_is_damaged_is_not_waited_for(shelf: Shelf) -> None:
    """It is told with what cannot be read; and a file that the daemon makes just now stays."""
    shelf.take()
    path = shelf.archive.path(PLACE)
    unfinished = path.with_name(".r.1.jsonl.gz.tmp")
    unfinished.touch()
    shelf.archive.path(PLACE._replace(is_compressed=True)).write_bytes(b"no gzip file")
    path.unlink()
    config = Config(shelf.home, Settings())
    shelf.database.close()
    for file in shelf.home.glob("steplog.db*"):
        file.unlink()
    shelf.open_store()
    bystander = Bystander(config)
    is_done, left = bystander.is_done(), bystander.remaining()
    bystander.close()

    assert is_done
    assert left.spool_bytes == 0
    assert list(left.unreadable) == ["r"]
    assert unfinished.exists()
