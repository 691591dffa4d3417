"""How requests to an MLflow server travel: what the kernel is told of their connection."""

from __future__ import annotations

import http.server
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from steplogd.delivery import mlflow_transport

if TYPE_CHECKING:
    from collections.abc import Iterator


class Answering(http.server.BaseHTTPRequestHandler):
    """Says yes to whatever is asked, on one connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say yes; the server calls it so."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Serve on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_each_answer_is_acknowledged_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the second one on a connection: the kernel forgets it with each request."""
    seen: list[int] = []
    monkeypatch.setitem(mlflow_transport._token_files, url, None)
    with mlflow_transport._session() as session:
        read = mlflow_transport._read

        def look(response: Any) -> None:
            connection = mlflow_transport._this_thread.connection
            seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))
            read(response)

        monkeypatch.setattr(mlflow_transport, "_read", look)
        for _ in range(2):
            mlflow_transport._request(session, url, "GET", url, {})

    assert seen == [1, 1]
