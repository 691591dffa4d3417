"""What the daemon's integration tests are built from."""

from __future__ import annotations

from tests.guard import anyio_backend, loop_guard

__all__ = ["anyio_backend", "loop_guard"]
