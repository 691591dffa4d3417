"""Where runs are delivered to: MLflow embedded, and servers with SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.delivery.postgresql import cluster
from benchmarks.frame.environments import Environment, Unavailable, environment
from benchmarks.frame.processes import cpu_seconds
from benchmarks.peers.contenders import prepare
from benchmarks.peers.running import mlflow_server

if TYPE_CHECKING:
    from collections.abc import Iterator

EMBEDDED: Final = "SQLite, embedded"
SQLITE: Final = "server, SQLite"
POSTGRESQL: Final = "server, PostgreSQL"


class Place(NamedTuple):
    """One of them.

    Attributes:
        name: In tables.
        server_url: Where it is reached; "" is a database within the client's process.
        processes: All of its processes descend from these.
        error: Why it cannot be measured here.
    """

    name: str
    server_url: str = ""
    processes: tuple[int, ...] = ()
    error: str = ""

    def cpu_seconds(self) -> float:
        """Return the processor time that its servers have taken."""
        return sum(map(cpu_seconds, self.processes))


@contextlib.contextmanager
def places() -> Iterator[list[Place]]:
    """Start all servers for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        found = [Place(EMBEDDED)]
        for name in (SQLITE, POSTGRESQL):
            try:
                found.append(stack.enter_context(_server(name)))
            except Unavailable as error:
                found.append(Place(name, error=f"not measured: {error}"))
        yield found


@contextlib.contextmanager
def _server(name: str) -> Iterator[Place]:
    mlflow = prepare(["mlflow"])["mlflow"]
    if not isinstance(mlflow, Environment):
        raise Unavailable(mlflow)
    store_uri, packages = "", None
    processes: tuple[int, ...] = ()
    with contextlib.ExitStack() as stack:
        if name == POSTGRESQL:
            packages = _packages(environment("psycopg2", "psycopg2-binary"))
            store_uri, process = stack.enter_context(cluster())
            processes = (process,)
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        server = stack.enter_context(mlflow_server(mlflow, Path(folder), store_uri, packages))
        yield Place(name, server.url, (server.process, *processes))


def _packages(driver: Environment) -> Path:
    (found,) = driver.folder.glob("lib/python3*/site-packages")
    return found
