"""The home: folders whose names survive a power cut, where a file system can tell."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from steplog.home import sync_folder

if TYPE_CHECKING:
    from pathlib import Path


def break_disk(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let all syncing end with this error."""

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)


def test_file_system_that_syncs_no_folders_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing more to be had from it."""
    sync_folder(tmp_path)
    break_disk(monkeypatch, errno.EINVAL)

    sync_folder(tmp_path)


def test_disk_that_breaks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may take for durable what is not."""
    break_disk(monkeypatch, errno.EIO)

    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
