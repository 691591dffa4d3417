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

from steplogd.metrics.listen import is_this_machine, parse_listen
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

_AGAIN_SECONDS: Final = 60.0
"""How long after it could not listen the endpoint tries again."""


@contextlib.contextmanager
def giving_out(text: str, collector: Collector) -> Iterator[None]:
    """Give out metrics at an address for the block's duration.

    Where nobody can listen there, that is logged, and tried again until it works: any user of the
    machine can take a port, and must not keep the daemon from serving by it.

    Args:
        text: The address, as it is configured.
        collector: Of the metrics; those of the process come with them.

    Raises:
        ValueError: The text says none.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    registry.register(ProcessCollector())
    endpoint = _Endpoint(parse_listen(text), make_wsgi_app(registry))
    endpoint.listen()
    thread = threading.Thread(target=endpoint.serve, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        endpoint.stop()
        thread.join(_JOIN_SECONDS)
        endpoint.close()


class _Endpoint:
    """Listens at an address, from when it can on."""

    def __init__(self, listen: Listen, application: Callable[..., Any]) -> None:
        self._listen = listen
        self._application = application
        self._server: _Server | None = None
        self._stopped = threading.Event()
        self._reason: str | None = None

    def listen(self) -> None:
        """Listen; where that fails, say so once for each reason."""
        try:
            if self._listen.family == socket.AF_UNIX:
                _clear(self._listen.host)
            self._server = _Server(self._listen, self._application)
        except OSError as error:
            self._say_not(error.strerror or str(error))
        else:
            if self._reason is not None:
                _log.info("metrics are given out", at=str(self._listen))

    def serve(self) -> None:
        """Take requests until told to stop; before, try to listen for as long as that fails."""
        while self._server is None and not self._stopped.wait(_AGAIN_SECONDS):
            self.listen()
        if self._server is not None and not self._stopped.is_set():
            self._server.serve()

    def stop(self) -> None:
        """Take no requests any more."""
        self._stopped.set()
        if self._server is not None:
            self._server.stop()

    def close(self) -> None:
        """Listen no longer; a socket that is somebody else's stays."""
        if self._server is None:
            return
        if self._listen.family == socket.AF_UNIX:
            with contextlib.suppress(OSError):  # first: once nobody listens, another may take it
                os.unlink(self._listen.host)  # noqa: PTH108
        self._server.server_close()

    def _say_not(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            _log.error(
                "metrics are not given out, as nobody can listen there: trying again",
                at=str(self._listen),
                reason=reason,
            )


def _clear(path: str) -> None:
    """Take away a socket that a killed daemon left; never one that is listened at, nor a file."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as asking:
        asking.setblocking(False)  # who listens there may take nobody
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
        answering = _only_metrics(application)
        self.set_app(answering if is_path else _only_for_this_machine(answering))
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
        try:
            return super().get_request()[0], ("", 0)
        except OSError:
            if not self._is_stopped:
                time.sleep(_REST_SECONDS)  # with no descriptor left it comes again at once
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, once there is room."""
        self._room.acquire()
        if self._is_stopped:
            self.shutdown_request(request)
            return
        try:
            threading.Thread(
                target=self._answer,
                args=(request, client_address),
                name="metrics-answer",
                daemon=True,
            ).start()
        except BaseException:  # there may be no thread to be had: TasksMax=
            time.sleep(_REST_SECONDS)
            self._room.release()
            raise

    def handle_error(self, *_: Any) -> None:
        """Say nothing: who asked has gone."""

    def _answer(self, request: socket.socket, client_address: Any) -> None:
        cut = threading.Timer(_MOST_SECONDS, _cut_off, [request])
        cut.daemon = True
        try:
            cut.start()
            self.finish_request(request, client_address)
        except (OSError, RuntimeError):  # who asked has gone, or is too slow; or no thread is left
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


def _only_for_this_machine(application: Callable[..., Any]) -> Callable[..., Iterable[bytes]]:
    """Answer who asks for this machine by name or address; a page in a browser asks for its own.

    Its name server may answer with 127.0.0.1, and then the browser would let it read ours.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not is_this_machine(environ.get("HTTP_HOST", "")):
            start_response("403 Forbidden", [_PLAIN])
            return [b"steplogd: ask by localhost, 127.0.0.1 or [::1]\n"]
        found: Iterable[bytes] = application(environ, start_response)
        return found

    return answer
