"""The child process that runs W&B, while it is being closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from steplogd.delivery.contract import Unavailable
from steplogd.delivery.wandb_child import Child
from steplogd.delivery.wandb_frames import Place
from tests.conftest import DEADLINE_SECONDS, wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_who_waits_while_itis_closed_starts_no_other(tmp_path: Path) -> None:
    """Nor who comes after that; another one, made from it, is not closed."""
    child = Child(Place("offline", "", "", str(tmp_path)), DEADLINE_SECONDS)
    told: list[Exception] = []

    def start() -> None:
        try:
            child.start()
        except Unavailable as error:
            told.append(error)

    waiting = threading.Thread(target=start)
    closing = threading.Thread(target=child.close)
    with child._lock:
        waiting.start()
        closing.start()
        wait_until(lambda: child.is_closed)
    waiting.join()
    closing.join()
    start()

    assert ["closed" in str(error) for error in told] == [True, True]
    assert (child.pid, child.generation) == (None, 0)
    assert not child.elsewhere(str(tmp_path)).is_closed


def test_a_process_that_was_started_while_itis_closed_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes it had not seen it, and is not kept waiting until it has begun."""
    child = Child(Place("offline", "", "", str(tmp_path)), DEADLINE_SECONDS)

    def close_meanwhile(_: Path | None) -> dict[str, str]:
        child.is_closed = True
        return {}

    monkeypatch.setattr("steplogd.delivery.wandb_child.key_in", close_meanwhile)

    with pytest.raises(Unavailable, match="closed"):
        child.start()

    assert (child.pid, child.generation) == (None, 0)
