"""The guard of async tests: a call of the daemon's that blocks the event loop fails the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = [pytest.mark.anyio, pytest.mark.usefixtures("loop_guard")]
"""What a module of async tests sets `pytestmark` to."""


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio, as the daemon does."""
    return "asyncio"


@pytest.fixture
def loop_guard() -> Iterator[None]:
    """Raise BlockingError wherever the daemon blocks its event loop."""
    with blockbuster_ctx(["steplogd"]):
        yield
