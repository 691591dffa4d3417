"""How requests to an MLflow server travel: each once, for so long, with the token of the moment.

MLflow's client takes any 200 for a yes, an empty one and a page after a redirect too; it drops the
answer of a server in trouble, `Retry-After` and all; and it waits for ever where an answer drips.
So the requests to the servers of our backends go through here, and `mlflow_answers` judges what
comes back. Requests of the same process to other servers go as MLflow sends them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

from steplogd.delivery.contract import Unavailable
from steplogd.delivery.mlflow_answers import judge
from steplogd.delivery.secret_file import secret_in
from steplogd.delivery.secrets import keep_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from requests import Response, Session

PATIENCE: Final = 4
"""How many times as long as MLflow waits for a next byte it may take until the last one."""

MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
"""A run with very many params takes some tens of megabytes."""

_CHUNK_BYTES: Final = 64 * 1024
_DEFAULT_TIMEOUT_SECONDS: Final = 30.0
_MAX_TOKEN_BYTES: Final = 64 * 1024

_token_files: Final[dict[str, Path | None]] = {}
_installing: Final = threading.Lock()
_this_thread: Final = threading.local()


def serve(server_url: str, token_file: Path | None) -> None:
    """Let requests to this server travel through here from now on, with the token in the file.

    It is the server's for the whole process: of two backends of one server, both have it.
    """
    import mlflow.utils.rest_utils

    rest_utils: Any = mlflow.utils.rest_utils  # nowhere else do all of its requests pass
    with _installing:
        _token_files[server_url.rstrip("/")] = token_file
        before = rest_utils._get_http_response_with_retries
        if not hasattr(before, "is_ours"):
            rest_utils._get_http_response_with_retries = _instead_of(before)


def _instead_of(before: Callable[..., Response]) -> Callable[..., Response]:
    session = _session()

    def request(method: str, url: str, *retrying: Any, **options: Any) -> Response:
        server = next((known for known in list(_token_files) if _is_below(url, known)), None)
        if server is None:
            return before(method, url, *retrying, **options)
        return _request(session, server, method, url, options)

    request.is_ours = True  # type: ignore[attr-defined]
    return request


def _is_below(url: str, server: str) -> bool:
    return url == server or url.startswith((f"{server}/", f"{server}?"))


def _request(
    session: Session, server: str, method: str, url: str, options: dict[str, Any]
) -> Response:
    """Send a request once, and return the answer if it is MLflow's; see `judge`.

    Raises:
        Unavailable: No answer, or none of MLflow's.
    """
    for ours in ("respect_retry_after_header", "retry_codes", "raise_on_status"):
        options.pop(ours, None)
    if options.get("allow_redirects") is None:
        allowed = os.environ.get("MLFLOW_ALLOW_HTTP_REDIRECTS", "true").lower()
        options["allow_redirects"] = allowed in ("true", "1")
    token = _token(_token_files[server])
    if token:
        options["headers"] = {**options.get("headers", {}), "Authorization": f"Bearer {token}"}
    is_download = bool(options.pop("stream", False))
    with _deadline(options.get("timeout") or _DEFAULT_TIMEOUT_SECONDS):
        response = session.request(method, url, stream=True, **options)
        _read(response)  # a file too: ours are small
    judge(response, method, is_download=is_download)
    return response


def _token(file: Path | None) -> str:
    """Return the token as it is now: who changes the file restarts nothing."""
    if file is None:
        return ""
    token = secret_in(file, "token", _MAX_TOKEN_BYTES)
    keep_word(token)  # a server may quote what it was sent
    return token


def _read(response: Response) -> None:
    """Read the answer whole, but no endless one."""
    chunks, size = [], 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            response.close()
            raise Unavailable(f"the answer of {response.url} does not end")
    response._content = b"".join(chunks)


@contextlib.contextmanager
def _deadline(timeout_seconds: float) -> Iterator[None]:
    """End the connection of this thread's request when the answer takes too long in all.

    The timeout of a socket begins anew with each byte.
    """
    _this_thread.connection = None
    thread = _this_thread.__dict__
    limit_seconds = PATIENCE * timeout_seconds
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        if (connection := thread.get("connection")) is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(limit_seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if is_late.is_set():
            raise Unavailable(f"no whole answer within {limit_seconds:g} s (timeout)") from error
        raise
    finally:
        timer.cancel()
        thread["connection"] = None


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Let the next answer be acknowledged as its first bytes come.

    An MLflow server writes head and body apart, and its kernel keeps the body back until the head
    is acknowledged, for which ours would take 40 ms. It forgets this with what is sent next.
    """
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _session() -> Session:
    """Make a session that retries nothing, and says which socket a thread waits for."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Noted:
        sock: Any

        def getresponse(self) -> Any:
            _this_thread.connection = self.sock
            _acknowledge_at_once(self.sock)
            beyond: Any = super()
            return beyond.getresponse()

    class Plain(Noted, HTTPConnection):
        pass

    class Secure(Noted, HTTPSConnection):
        pass

    class Adapter(HTTPAdapter):
        def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
            pool = super().get_connection_with_tls_context(*arguments, **options)
            if not issubclass(pool.ConnectionCls, Noted):
                pool.ConnectionCls = Secure if pool.scheme == "https" else Plain
            return pool

    session = requests.Session()
    adapter = Adapter(max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
