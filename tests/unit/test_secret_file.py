"""A secret from a file: whole, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steplogd.delivery.contract import Unavailable
from steplogd.delivery.secret_file import secret_in

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_may_take_all_the_room_there_is(tmp_path: Path) -> None:
    """Its line end is part of it."""
    file = tmp_path / "key"
    file.write_text("k" * 99 + "\n")

    assert secret_in(file, "key", 100) == "k" * 99


def test_a_secret_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """Cut, it would be another: the tracker would refuse it, and nobody knew why."""
    file = tmp_path / "key"
    file.write_text("k" * 101)

    with pytest.raises(Unavailable, match=f"the key_file {file} is too long") as told:
        secret_in(file, "key", 100)

    assert "kkk" not in str(told.value)
