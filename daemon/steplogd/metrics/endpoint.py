"""The endpoint: answers `GET /metrics`, to a few at once, in threads that hold up nobody."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import socketserver
import stat
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from steplogd.config import ConfigError
from steplogd.metrics.listen import parse_listen
from steplogd.metrics.process import ProcessCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.registry import Collector

    from steplogd.metrics.listen import Listen

_AT_ONCE: Final = 4
"""So many are answered at once; whoever comes then waits, in the kernel, at no cost to us."""

_REST_SECONDS: Final = 0.1
"""How long after an answer nobody else has its place: whoever asks without end gets forty answers a
second, a few hundredths of a processor."""

_WAITING: Final = 16
_MOST_SECONDS: Final = 10.0
"""What one request may take, from the first byte to the last: as long as Prometheus waits."""

_log = structlog.get_logger()

_MODE: Final = 0o660
_PLAIN: Final = ("Content-Type", "text/plain")
_JOIN_SECONDS: Final = 1.0


@contextlib.contextmanager
def giving_out(text: str, collector: Collector) -> Iterator[None]:
    """Give out metrics at an address for the block's duration.

    Args:
        text: The address, as it is configured.
        collector: Of the metrics; those of the process come with them.

    Raises:
        ConfigError: Nobody can listen there.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    registry.register(ProcessCollector())
    listen = parse_listen(text)
    server = _listening(listen, make_wsgi_app(registry))
    thread = threading.Thread(target=server.serve, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(_JOIN_SECONDS)
        server.server_close()
        if listen.family == socket.AF_UNIX:
            with contextlib.suppress(OSError):
                os.unlink(listen.host)  # noqa: PTH108


def _listening(listen: Listen, application: Callable[..., Any]) -> _Server:
    try:
        if listen.family == socket.AF_UNIX:
            _clear(listen.host)
        return _Server(listen, application)
    except OSError as error:
        raise ConfigError(
            f"metrics_listen: nobody can listen at {listen} ({error.strerror or error}); name "
            "another address, or stop who listens there."
        ) from error


def _clear(path: str) -> None:
    """Take away a socket that a killed daemon left; never one that is listened at, nor a file."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as asking:
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
                os.unlink(path)  # noqa: PTH108
        except OSError:
            return  # there is none; or who binds it will say what is wrong


class _Handler(WSGIRequestHandler):
    """Answers one request."""

    timeout = _MOST_SECONDS

    def log_message(self, *_: Any) -> None:
        """Log nothing: a line for each scrape tells nobody anything."""

    def get_stderr(self) -> Any:
        """Return where errors are written at length: nowhere."""
        return io.StringIO()


class _Server(WSGIServer):
    """Listens, and starts a thread for each of a few requests at once."""

    request_queue_size = _WAITING

    def __init__(self, listen: Listen, application: Callable[..., Any]) -> None:
        self.address_family = listen.family
        self._room = threading.Semaphore(_AT_ONCE)
        self._is_stopped = False
        is_path = listen.family == socket.AF_UNIX
        super().__init__(listen.host if is_path else (listen.host, listen.port), _Handler)  # type: ignore[arg-type]
        self.set_app(_only_metrics(application))
        if is_path:
            os.chmod(listen.host, _MODE)  # noqa: PTH101

    def server_bind(self) -> None:
        """Bind, and ask no name server what our name is."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def serve(self) -> None:
        """Take requests until told to stop; asleep while there are none."""
        while not self._is_stopped:
            self.handle_request()

    def stop(self) -> None:
        """Take none any more."""
        self._is_stopped = True
        self._room.release()  # whoever waits for it has to notice
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Return the next one, and nobody's address: who comes by a socket has none."""
        return super().get_request()[0], ("", 0)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, once there is room."""
        self._room.acquire()
        if self._is_stopped:
            self.shutdown_request(request)
            return
        threading.Thread(
            target=self._answer, args=(request, client_address), name="metrics-answer", daemon=True
        ).start()

    def handle_error(self, *_: Any) -> None:
        """Say nothing: who asked has gone."""

    def _answer(self, request: socket.socket, client_address: Any) -> None:
        cut = threading.Timer(_MOST_SECONDS, _cut_off, [request])
        cut.daemon = True
        cut.start()
        try:
            self.finish_request(request, client_address)
        except OSError:  # who asked has gone, or is too slow
            pass
        finally:
            cut.cancel()
            self.shutdown_request(request)
            time.sleep(_REST_SECONDS)
            self._room.release()


def _cut_off(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def _only_metrics(application: Callable[..., Any]) -> Callable[..., Iterable[bytes]]:
    """Answer at `/metrics`; everything else is not there."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [_PLAIN])
            return [b"steplogd: ask for /metrics\n"]
        try:
            found: Iterable[bytes] = application(environ, start_response)
        except Exception as error:  # noqa: BLE001  # a defect of ours costs a scrape, and is told
            _log.error("metrics cannot be given out", reason=repr(error))
            start_response("500 Internal Server Error", [_PLAIN])
            return [b"steplogd: see its log\n"]
        return found

    return answer
