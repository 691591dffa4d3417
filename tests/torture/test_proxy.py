"""The proxy that harms what passes: what it does not harm is as it was."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import requests

from tests.conftest import wait_until
from tests.torture.proxy import ANSWERS, HALF, LATE, LOST, RESET, RESET_LATER, Proxy, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator


class Echo(ThreadingHTTPServer):
    """A server that answers with what it was sent, and keeps it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    """Answers one request of an `Echo`."""

    server: Echo

    def do_POST(self) -> None:
        """Answer with what came."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Serve while a test runs."""
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """Stand before it."""
    with Proxy(f"http://127.0.0.1:{echo.server_port}") as proxy:
        yield proxy


def post(proxy: Proxy, body: bytes, timeout: float = 20) -> requests.Response:
    return requests.post(f"{proxy.url}/some/path", data=body, timeout=timeout)


def test_what_is_not_harmed_passes_whole(proxy: Proxy, echo: Echo) -> None:
    """A megabyte, there and back."""
    body = b"0123456789abcdef" * 65536

    assert body == post(proxy, body).content
    assert [body] == echo.got


@pytest.mark.parametrize("fault", [RESET, RESET_LATER, LOST, HALF])
def test_an_answer_that_is_harmed_does_not_come(proxy: Proxy, echo: Echo, fault: str) -> None:
    """The server has the request where only its answer is harmed."""
    proxy.choose = in_order([fault], "/some")

    with pytest.raises(requests.RequestException):
        post(proxy, b"x" * 1000)

    assert (fault in (LOST, HALF)) == (len(echo.got) == 1)
    wait_until(lambda: proxy.happened == {fault: 1})


@pytest.mark.parametrize("fault", ANSWERS)
def test_somebody_else_answers_and_the_server_hears_nothing(
    proxy: Proxy, echo: Echo, fault: str
) -> None:
    """Once: the next request passes."""
    proxy.choose = in_order([fault])
    answer = requests.post(f"{proxy.url}/", data=b"a", timeout=20, allow_redirects=False)

    assert answer.content != b"a"
    assert echo.got == []
    assert post(proxy, b"b").content == b"b"


def test_a_late_request_arrives_when_it_is_let_through(proxy: Proxy, echo: Echo) -> None:
    """When the client has long since given up."""
    proxy.choose = in_order([LATE])
    with pytest.raises(requests.Timeout):
        post(proxy, b"late", timeout=0.2)
    wait_until(lambda: proxy.happened[LATE] == 1)
    post(proxy, b"in time")

    assert proxy.let_late_ones_through() == 1
    assert echo.got == [b"in time", b"late"]


def test_a_proxy_that_refuses_listens_again_at_its_port(proxy: Proxy) -> None:
    """As a server does that was restarted."""
    proxy.refuse()
    with pytest.raises(requests.ConnectionError):
        post(proxy, b"a")
    proxy.listen()

    assert post(proxy, b"b").content == b"b"
