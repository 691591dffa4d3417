"""Texts without credentials: those that URLs in them hold, and those that the daemon knows."""

from __future__ import annotations

import base64
import functools
import os
import re
from collections import deque
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit, urlunsplit

from steplog.command_words import MASK, USER_IN_URL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# A tracker may answer with megabytes: these take a time that grows as a text does, and no faster,
# as they begin at most once in a word and never go back in it, or as names are no longer than that.
_BARE_USER: Final = re.compile(r"(?<![^/\s'\"@]):*+[^/\s'\"@:]++:[^/\s'\"@]++@(?=[\w.-])")
_PARAMETER: Final = re.compile(
    r"(?i)([?&][\w-]{0,64}(?:token|key|password|passwd|secret|auth)[\w-]{0,64}=)[^&\s'\"]*"
)
_SECRET_NAME: Final = re.compile(
    r"(?i)(?:^|[_.-])(?:api_?key|key|token|pass|passwd|password|secret|credentials?)(?:[_.-]|$)"
)
_NO_SECRETS: Final = ("_FILE", "_PATH", "_DIR")
"""Variables that name where a secret lies; the place is worth telling."""

_LEAST_CHARACTERS: Final = 4
"""What is shorter occurs in any text, and hides nothing."""

_MOST_WORDS: Final = 100
"""So many secrets from files are known: a token that is changed every hour is one of many."""

_known: set[str] = set()
_words: deque[frozenset[str]] = deque(maxlen=_MOST_WORDS)


def without_secrets(text: str) -> str:
    """Return a text without the credentials that are known, or that a URL in it holds.

    Of URLs that is a user, a password, and a parameter that reads like one. Known is what the
    environment names so (`MLFLOW_TRACKING_TOKEN`, `WANDB_API_KEY`, any `…_SECRET`), and what
    `keep_secret` and `keep_word` were told: a tracker's answer may quote what it was sent.
    """
    return masking()(text)


def masking() -> Callable[[str], str]:
    """Return what does so with texts that come at once: to look for secrets takes the longest."""
    words = frozenset[str]().union(*_words.copy())
    secrets = sorted({*_known, *words, *_of_environment()}, key=len, reverse=True)

    def masked(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, MASK)
        return _PARAMETER.sub(rf"\1{MASK}", _BARE_USER.sub("", USER_IN_URL.sub("", text)))

    return masked


def keep_secret(url: str) -> None:
    """Know from now on what grants access in a URL that was configured.

    The name of a user is none: it may be a word of any run's id, or the backend's own name.
    """
    try:
        parts = urlsplit(url)
        parameters = parse_qsl(parts.query)
    except ValueError:  # whoever uses it will say so
        return
    user, _, _ = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    is_token = not password and parts.scheme in ("http", "https")
    secret = [value for key, value in parameters if _PARAMETER.match(f"?{key}=")]
    _known.update(_spellings((name if is_token else password, *secret)))
    if user:
        _known.update(_basic(unquote(name), unquote(password)))


def keep_word(secret: str) -> None:
    """Know a secret that was read from a file, until many others were."""
    spellings = frozenset(_spellings((secret,)))
    if spellings not in _words:
        _words.append(spellings)


def without_credentials(url: str) -> str:
    """Return a URL that still leads there, for somebody with credentials of his own."""
    head, mark, query = url.partition("?")
    kept = [one for one in query.split("&") if one and not _PARAMETER.match(f"?{one}")]
    url = f"{head}{mark}{'&'.join(kept)}" if kept else head
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _of_environment() -> Iterator[str]:
    for name in os.environ:
        if _names_secret(name):
            yield from _spellings((os.environ.get(name, ""),))
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    yield from _basic(user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))


@functools.lru_cache(maxsize=1024)
def _names_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not name.endswith(_NO_SECRETS)


def _basic(user: str, password: str) -> Iterator[str]:
    """Yield what a header of basic authentication says."""
    if user or password:
        yield base64.b64encode(f"{user}:{password}".encode(errors="replace")).decode()


def _spellings(secrets: Iterable[str]) -> Iterator[str]:
    """Yield secrets as they may be quoted: as they are, and as they stand in a URL."""
    for secret in secrets:
        plain = unquote(secret)
        if len(plain) >= _LEAST_CHARACTERS:
            encoded = plain.encode(errors="replace")
            yield from {secret, plain, quote(encoded, safe=""), quote_plus(encoded)}
