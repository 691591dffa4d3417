"""A proxy on this machine that harms what passes: lost answers, late ones, and other people's."""

from __future__ import annotations

import contextlib
import email.utils
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DRIP_SECONDS: Final = 0.05
MAX_DRIP_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 60.0
_READ_BYTES: Final = 64 * 1024
_LOGIN: Final = "<html><form action=/login>Please log in</form></html>"


def page(status: str, body: str, *headers: str, kind: str = "text/html") -> bytes:
    """Return an answer, as it is sent."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "Connection: close", *headers, "", body]).encode()


def _json(status: str, body: str, *headers: str) -> bytes:
    return page(status, body, *headers, kind="application/json")


ANSWERS: Final[dict[str, Callable[[], bytes]]] = {
    "429 with seconds": lambda: page("429 Too Many Requests", "", "Retry-After: 1"),
    "429 with a date": lambda: page(
        "429 Too Many Requests", "", f"Retry-After: {email.utils.formatdate(time.time() + 1)}"
    ),
    "500": lambda: _json("500 Internal Server Error", '{"error_code": "INTERNAL_ERROR"}'),
    "502 with HTML": lambda: page("502 Bad Gateway", "<html>502 Bad Gateway</html>"),
    "503 with seconds": lambda: page("503 Service Unavailable", "", "Retry-After: 1"),
    "401": lambda: page("401 Unauthorized", "<html>401</html>"),
    "403": lambda: page("403 Forbidden", "<html>403</html>"),
    "404 with HTML": lambda: page("404 Not Found", "default backend - 404"),
    "a login page": lambda: page("200 OK", _LOGIN),
    "a redirect to a login page": lambda: page("302 Found", "", "Location: /login"),
    "truncated JSON": lambda: _json("200 OK", '{"run": {"info": {"run_'),
    "an empty 200": lambda: page("200 OK", ""),
    "an empty object": lambda: _json("200 OK", "{}"),
    "JSON of another shape": lambda: _json("200 OK", '{"run": {}, "runs": [{}], "login": true}'),
    "a list": lambda: _json("200 OK", "[]"),
}
"""What somebody else answers in the server's place, by fault; the server hears of nothing."""

RESET, RESET_LATER = "reset in mid-request", "reset before the answer"
LOST, LATE = "answer lost", "request late"
HALF, DRIP, HEADERS = "answer cut short", "answer drips", "headers without end"
FAULTS: Final = (RESET, RESET_LATER, LOST, LATE, HALF, DRIP, HEADERS, *ANSWERS)


class Request(NamedTuple):
    """What a client asks.

    Attributes:
        method: As in `POST`.
        path: With its query.
        content: All of it as it came, head and body.
    """

    method: str
    path: str
    content: bytes


class Proxy:
    """Passes requests on to a server at its own port, unless a rule wants a fault.

    Attributes:
        url: What clients are told.
        choose: Asked for each request which fault is to happen to it, if any; any thread may ask.
        happened: How often each fault did.

    Args:
        target: The server's URL.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._port = 0
        self._server: _Server | None = None
        self._lock = threading.Lock()
        self._late: list[Request] = []
        self.choose: Callable[[Request], str | None] = lambda _: None
        self.happened: Counter[str] = Counter()
        self.listen()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    def refuse(self) -> None:
        """Listen no more: who connects is refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def listen(self) -> None:
        """Listen, again at the same port."""
        self._server = _Server(("127.0.0.1", self._port), _Connection)
        self._server.proxy = self
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def let_late_ones_through(self) -> int:
        """Take to the server what was held back and given up since; return how many there were."""
        with self._lock:
            late, self._late = self._late, []
        for request in late:
            with contextlib.suppress(OSError):
                self.ask(request)
        return len(late)

    def ask(self, request: Request) -> bytes:
        """Ask the server, and return its answer."""
        head, blank, body = request.content.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not _is_ours_to_say(line)]
        place = (self._target.hostname, self._target.port)
        with socket.create_connection(place, WAIT_SECONDS) as server:
            server.sendall(b"\r\n".join([*lines, b"Connection: close"]) + blank + body)
            return b"".join(iter(lambda: server.recv(_READ_BYTES), b""))

    def serve(self, client: socket.socket) -> None:
        """Answer the request that a client sends, with a fault or without."""
        head = _receive(client, b"", lambda content: b"\r\n\r\n" in content)
        first = head.split(b"\r\n")[0].decode().split(" ")
        request = Request(first[0], first[1], head)
        fault = self.choose(request)
        if fault != RESET:
            size = head.index(b"\r\n\r\n") + 4 + _length(head)
            content = _receive(client, head, lambda content: len(content) >= size)
            request = request._replace(content=content)
        if fault is None:
            client.sendall(self.ask(request))
            return
        self._harm(client, request, fault)
        with self._lock:
            self.happened[fault] += 1

    def _harm(self, client: socket.socket, request: Request, fault: str) -> None:
        if fault in ANSWERS:
            client.sendall(ANSWERS[fault]())
        elif fault == LATE:
            with self._lock:
                self._late.append(request)
            _wait_until_gone(client)
        elif fault == HALF:
            answer = self.ask(request)
            client.sendall(answer[: len(answer) // 2])
        elif fault in (DRIP, HEADERS):
            _drip(client, fault)
        else:
            if fault == LOST:
                self.ask(request)
            _reset(client)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    proxy: Proxy


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Serve one request, of a connection of its own."""
        client: socket.socket = self.request
        client.settimeout(WAIT_SECONDS)
        with contextlib.suppress(OSError):
            self.server.proxy.serve(client)


def in_order(faults: Sequence[str], where: str = "") -> Callable[[Request], str | None]:
    """Return a rule: one of these faults for each request whose path has a text, then none."""
    left, lock = list(faults), threading.Lock()

    def choose(request: Request) -> str | None:
        with lock:
            return left.pop(0) if left and where in request.path else None

    return choose


def _receive(client: socket.socket, content: bytes, is_enough: Callable[[bytes], bool]) -> bytes:
    while not is_enough(content):
        if not (some := client.recv(_READ_BYTES)):
            raise ConnectionAbortedError
        content += some
    return content


def _is_ours_to_say(line: bytes) -> bool:
    return line.lower().startswith(b"connection:")


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _reset(client: socket.socket) -> None:
    """Close it such that the other side gets a reset, and no orderly end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def _wait_until_gone(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while client.recv(_READ_BYTES):
            pass


def _drip(client: socket.socket, fault: str) -> None:
    """Answer a little at a time until the client has had enough."""
    end = time.monotonic() + MAX_DRIP_SECONDS
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    if fault == DRIP:
        client.sendall(b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
    with contextlib.suppress(OSError):
        while time.monotonic() < end:
            client.sendall(b" " if fault == DRIP else b"X")
            time.sleep(DRIP_SECONDS)
