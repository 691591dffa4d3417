"""Which answers are an MLflow server's own, and what those of anybody else mean.

Between us and MLflow stand proxies, gateways and login pages, which answer in its place: with a
status of their own, with HTML, or with nothing. None of that says what became of a request, so it
counts as `Unavailable`: nothing is taken for delivered, refused or deleted because of it.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from typing import TYPE_CHECKING, Any, Final

from steplogd.delivery.contract import Unavailable
from steplogd.delivery.secrets import without_secrets

if TYPE_CHECKING:
    from requests import Response

MAX_RETRY_AFTER_SECONDS: Final = 3600.0
"""Who asks for more is asked again all the same: it may be a clock that is wrong."""

_MAX_QUOTED: Final = 200
_MOST_READ: Final = 64 * 1024
"""Of an answer that is quoted: its beginning, and any token that may stand there."""

_OURS: Final = "/api/2.0/"
_API: Final = "/api/2.0/mlflow/"
_TOO_LARGE: Final = 413
_REFUSING: Final = (401, 403)
_CLIENT_ERRORS: Final = range(400, 500)
_TRANSIENT: Final = (408, 425, 429)

_MUST_HAVE: Final = {
    "experiments/create": "experiment_id",
    "experiments/get": "experiment",
    "experiments/get-by-name": "experiment",
    "experiments/search": None,
    "metrics/get-history": None,
    "runs/create": "run",
    "runs/get": "run",
    "runs/search": None,
    "runs/update": "run_info",
}
"""What an answer cannot be without; None for a list, which may well be empty."""

_OF_LISTS: Final = {"experiments", "runs", "metrics", "next_page_token"}


def judge(response: Response, method: str, *, is_download: bool) -> None:
    """Let pass what MLflow said, be it yes or no.

    Args:
        response: The answer, read whole unless it is a download.
        method: What was asked, before any redirect.
        is_download: Whether a yes is a file, of any content.

    Raises:
        Unavailable: It was not MLflow that answered, or it is in trouble.
    """
    asked = response.history[0] if response.history else response
    if _OURS not in (asked.request.url or ""):
        return  # what MLflow asks for itself, and can do without
    if response.request.method != method or _OURS not in (response.request.url or ""):
        raise _not_mlflows(response, "it led to another page")
    if response.ok:
        if not is_download:
            _judge_yes(response, method)
        return
    error = _json_of(response)
    if response.status_code in _REFUSING and not _is_mlflows(error):
        raise Unavailable(refused_us(_quoted(response)))
    is_final = response.status_code in _CLIENT_ERRORS and response.status_code not in _TRANSIENT
    if is_final and (_is_mlflows(error) or response.status_code == _TOO_LARGE):
        return
    raise Unavailable(
        f"{_asked(response)} was answered with {_quoted(response)}",
        retry_after_seconds=retry_after_seconds(response.headers.get("Retry-After"), time.time()),
    )


def refused_us(reason: str) -> str:
    """Say what to do about missing, wrong or outdated credentials."""
    return (
        "MLflow refuses us: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN, for the daemon, or name a token_file: what is in that counts at "
        f"once, what the daemon gets from its unit (LoadCredential too) when it starts ({reason})"
    )


def retry_after_seconds(header: str | None, now: float) -> float | None:
    """Return how long a server asks us to wait: seconds, or a date; None for anything else."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:10])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError, TypeError):
            return None
    return min(math.ceil(max(seconds, 0.0)), MAX_RETRY_AFTER_SECONDS)


def _judge_yes(response: Response, method: str) -> None:
    if method == "PUT":
        return  # an upload is answered with nothing at all: who uploads looks whether it is there
    answer = _json_of(response)
    if answer is None:
        raise _not_mlflows(response, "it is no JSON object")
    call = response.request.path_url.partition("?")[0].partition(_API)[2]
    needed = _MUST_HAVE.get(call)
    if needed is not None and not answer.get(needed):
        raise _not_mlflows(response, f"it has no {needed!r}")
    is_list = call in _MUST_HAVE and needed is None
    if is_list and answer and not answer.keys() & _OF_LISTS:
        raise _not_mlflows(response, "it is no list")


def _not_mlflows(response: Response, why: str) -> Unavailable:
    return Unavailable(
        f"{_asked(response)} was answered with {_quoted(response)}, which is not MLflow's "
        f"answer: {why}. Is a proxy or a login page in between?"
    )


def _json_of(response: Response) -> dict[str, Any] | None:
    try:
        found = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_mlflows(error: dict[str, Any] | None) -> bool:
    return error is not None and isinstance(error.get("error_code"), str)


def _asked(response: Response) -> str:
    return (response.request.url or "").partition("?")[0]


def _quoted(response: Response) -> str:
    """Return the status and how the answer begins, on one line."""
    text = " ".join(response.content[:_MOST_READ].decode("utf-8", "replace").split())
    quoted = without_secrets(text)[:_MAX_QUOTED]  # cut before, half of a secret would be shown
    printable = "".join(c if c.isprintable() else "�" for c in quoted)
    return f"{response.status_code} {printable!r}" if printable else f"{response.status_code}"
