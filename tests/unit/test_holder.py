"""One daemon at a time holds a home."""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest

from steplog.served import LOCK_NAME, holder_of
from steplogd.holder import HomeHeld, hold

if TYPE_CHECKING:
    from pathlib import Path


def test_a_home_is_held_for_as_long_as_the_block_lasts(tmp_path: Path) -> None:
    """And made when absent."""
    home = tmp_path / "new" / "home"

    with hold(home):
        during = holder_of(home)

    assert during == os.getpid()
    assert holder_of(home) is None


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    """By process id, and what to do."""
    with hold(tmp_path), pytest.raises(HomeHeld, match=f"process id {os.getpid()}.*STEPLOG_HOME"):
        hold(tmp_path).__enter__()


def test_an_error_lets_go_of_the_home(tmp_path: Path) -> None:
    """So does the end of the process, by the kernel."""
    with pytest.raises(ZeroDivisionError), hold(tmp_path):
        raise ZeroDivisionError

    with hold(tmp_path):
        pass


def test_nobody_holds_a_home_that_is_not_there(tmp_path: Path) -> None:
    """And to ask makes none."""
    assert holder_of(tmp_path / "absent") is None
    assert not (tmp_path / "absent").exists()


def test_a_dead_daemons_file_holds_nothing(tmp_path: Path) -> None:
    """Its process id may be somebody else's by now."""
    (tmp_path / "steplogd.lock").write_text("1\n")

    assert holder_of(tmp_path) is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """It would write a process id where it leads."""
    (tmp_path / "steplogd.lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic link"):
        hold(tmp_path).__enter__()


def test_somebody_who_only_looks_keeps_no_daemon_from_starting(tmp_path: Path) -> None:
    """`steplogd status` holds the lock for a moment."""
    descriptor = os.open(tmp_path / "steplogd.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, os.close, [descriptor])
    timer.start()

    with hold(tmp_path):
        held_by = holder_of(tmp_path)
    timer.join()

    assert held_by == os.getpid()


def test_pipe_in_place_of_a_lock_is_held_by_nobody(tmp_path: Path) -> None:
    """And whoever asks does not wait for somebody to write it."""
    os.mkfifo(tmp_path / LOCK_NAME)

    assert holder_of(tmp_path) is None
