"""The tracker's own client inside a task: its run is the one that the daemon feeds."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.errors import SteplogError, describe
from steplog.home import default_home
from steplog.run import get_run_id
from steplog.served import holder_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from importlib.metadata import EntryPoint
    from pathlib import Path
    from types import TracebackType

ENTRY_POINT_GROUP: Final = "steplog.clients"
"""Each is named like a backend's type: a function from where a run is there to a context manager,
which gives the tracker's own client."""

_POLL_SECONDS: Final = 0.05


class _Backend(msgspec.Struct, frozen=True):
    """A backend that the daemon delivers to; `address` is where the run is there, once known."""

    name: str
    type: str
    address: dict[str, str] | None


@contextlib.contextmanager
def client_context(backend: str | None, timeout_seconds: float) -> Iterator[Any]:
    """Give the tracker's own client, or None; see `steplog.get_experiment_tracker_context`."""
    with contextlib.ExitStack() as stack:
        tracker = None
        try:
            found = _find(default_home(), get_run_id(), backend, timeout_seconds)
            if found is not None:
                client, address = found
                tracker = stack.enter_context(_Guarded(client(address)))
        except Exception as error:  # noqa: BLE001  # a tracker's client may raise anything
            _warn(describe(error))
        yield tracker


class _Guarded:
    """A client's context that raises at its end what the block raised, and nothing of its own."""

    def __init__(self, context: AbstractContextManager[Any]) -> None:
        self._context = context

    def __enter__(self) -> Any:
        return self._context.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._context.__exit__(kind, error, trace)
        except Exception as raised:  # noqa: BLE001  # a tracker's client may raise anything
            if raised is not error:
                _warn(describe(raised))


def _find(
    home: Path, run_id: str, wanted: str | None, timeout_seconds: float
) -> tuple[Any, dict[str, str]] | None:
    """Return the client of a backend and where the run is there; None where there is none."""
    deadline = time.monotonic() + timeout_seconds
    while holder_of(home) is not None:
        chosen = _choose(_backends(home, run_id), wanted)
        if chosen is None:
            return None
        if chosen.address is not None:
            return _clients()[chosen.type].load(), chosen.address
        if time.monotonic() >= deadline:
            _warn(f"{chosen.name} knows no run {run_id} after {timeout_seconds:g} seconds")
            return None
        time.sleep(_POLL_SECONDS)
    return None


def _choose(backends: list[_Backend], wanted: str | None) -> _Backend | None:
    clients = _clients()
    if wanted is None:
        return next((backend for backend in backends if backend.type in clients), None)
    for backend in backends:
        if backend.name == wanted:
            if backend.type not in clients:
                raise SteplogError(f"backends of type {backend.type} have no client for tasks")
            return backend
    known = ", ".join(backend.name for backend in backends) or "none"
    raise SteplogError(f"the daemon delivers to no backend {wanted!r}; it knows {known}")


def _backends(home: Path, run_id: str) -> list[_Backend]:
    """Return the daemon's backends in their order, as its store has them now."""
    from steplog.store_reader import NothingFolded, rows, snapshot

    sql = (
        "SELECT name, type, address FROM backend LEFT JOIN counterpart ON backend = name "
        "AND run_no = (SELECT run_no FROM run WHERE run_id = ?) "
        "WHERE place IS NOT NULL ORDER BY place"
    )
    try:
        with snapshot(home) as connection:
            return [
                _Backend(name, kind, None if address is None else msgspec.json.decode(address))
                for name, kind, address in rows(connection, sql, run_id)
            ]
    except NothingFolded:  # the daemon has just started
        return []


def _clients() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _warn(reason: str) -> None:
    import logging

    from steplog.cli.terminal import sanitise

    said = sanitise(reason)  # a tracker may have said it
    logging.getLogger("steplog").warning("The tracker's own client is not to be had: %s.", said)
