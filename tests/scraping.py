"""Asks a metrics endpoint as Prometheus does, at a port or a socket, and reads what it answers."""

from __future__ import annotations

import contextlib
import http.client
import socket
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from steplogd.metrics.listen import parse_listen
from tests.conftest import DEADLINE_SECONDS

if TYPE_CHECKING:
    from prometheus_client.samples import Sample


class _Connection(http.client.HTTPConnection):
    """A connection to an address as it is configured."""

    def __init__(self, listen: str) -> None:
        super().__init__("localhost", timeout=DEADLINE_SECONDS)
        self._listen = parse_listen(listen)

    def connect(self) -> None:
        """Connect."""
        family, host, port = self._listen
        self.sock = socket.socket(family)
        self.sock.settimeout(DEADLINE_SECONDS)
        self.sock.connect(host if family == socket.AF_UNIX else (host, port))


def ask(
    listen: str, path: str = "/metrics", method: str = "GET", host: str = "localhost"
) -> tuple[int, str]:
    """Ask, and return status and text."""
    with contextlib.closing(_Connection(listen)) as connection:
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def scrape(listen: str) -> list[Sample]:
    """Return all samples."""
    status, text = ask(listen)
    assert status == 200
    return [one for family in text_string_to_metric_families(text) for one in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    """Return the value of the only sample of that name with these labels."""
    (found,) = [one for one in samples if one.name == name and labels.items() <= one.labels.items()]
    return found.value


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with contextlib.closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port
