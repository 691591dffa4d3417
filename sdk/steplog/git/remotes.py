"""A remote's URL as it may be told to others: where the repository lies, and no credentials."""

from __future__ import annotations

import re
from typing import Final

MAX_URL_CHARACTERS: Final = 2000
"""Longer than any that a server takes."""

_URL: Final = re.compile(
    r"(?P<scheme>[\w+.:-]*?[\w+.-]+)://(?P<host>[^/?#]*)(?P<path>.*)", re.DOTALL
)
_SCP_WITH_PASSWORD: Final = re.compile(r"([^/@:]+):[^/]*@(.*)", re.DOTALL)
_PORT: Final = re.compile(r":\d*\Z")


def without_credentials(url: str) -> str:
    """Return a remote's URL without what grants access.

    The user's name of SSH stays, as it is part of the address (`git@host:path`). A path on this
    machine stays as it is. A command that git would run in place of a URL (`ext::…`) is not told.
    """
    if url.startswith(("ext::", "fd::")):
        return ""
    found = _URL.fullmatch(url)
    if found is None:  # a path, or host:path as ssh knows it
        return _SCP_WITH_PASSWORD.sub(r"\1@\2", url, count=1)[:MAX_URL_CHARACTERS]
    scheme, host, path = found.groups()
    if _is_cut_password(host, path):  # a slash in a password that should have been escaped
        host, path = _split(f"{host}{path}".rpartition("@")[2])
    user, _, host = host.rpartition("@")
    if "ssh" in scheme.lower() and user:
        host = f"{user.partition(':')[0]}@{host}"
    # Tokens stand in queries and fragments too, and no repository needs either.
    return f"{scheme}://{host}{re.split('[?#]', path)[0]}"[:MAX_URL_CHARACTERS]


def _is_cut_password(host: str, path: str) -> bool:
    """Tell whether what looks like the host is the beginning of a user and password."""
    return "@" not in host and "@" in path and ":" in _PORT.sub("", re.sub(r"\[.*\]", "", host))


def _split(rest: str) -> tuple[str, str]:
    host, slash, path = rest.partition("/")
    return host, f"{slash}{path}"
