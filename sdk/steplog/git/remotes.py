"""A remote's URL as it may be told to others: where the repository lies, and no credentials."""

from __future__ import annotations

import re
from typing import Final

MAX_URL_CHARACTERS: Final = 2000
"""A longer one is not told: no server takes it, and cut off, a token could pass for a host."""

_SCP_WITH_PASSWORD: Final = re.compile(r"([^/@:]+):[^/]*@(.*)")
_PORT: Final = re.compile(r":\d*\Z")
_NUMERIC_HOST: Final = re.compile(r"\A\[[^\]]*\]")


def without_credentials(url: str) -> str:
    """Return a remote's URL without what grants access.

    The user's name of SSH stays, as it is part of the address (`git@host:path`). A path on this
    machine stays as it is. A command that git would run in place of a URL (`ext::…`) is not told.
    """
    if len(url) > MAX_URL_CHARACTERS or url.startswith(("ext::", "fd::")):
        return ""
    scheme, separator, rest = url.partition("://")
    if not separator:  # a path, or host:path as ssh knows it
        address = _SCP_WITH_PASSWORD.fullmatch(url)
        return f"{address[1]}@{address[2]}" if address else url
    user, host, path = _split(rest)
    if "ssh" in scheme.lower() and user:
        host = f"{user.partition(':')[0]}@{host}"
    # Tokens stand in queries and fragments too, and no repository needs either.
    return f"{scheme}://{host}{re.split('[?#]', path)[0]}"


def _split(rest: str) -> tuple[str, str, str]:
    """Return user, host and path of a URL."""
    end = re.search("[/?#]", rest)
    at = end.start() if end else len(rest)
    user, _, host = rest[:at].rpartition("@")
    if not user and ":" in _PORT.sub("", _NUMERIC_HOST.sub("", host)):
        # No port: the password holds a character that should have been escaped.
        user, found, others = rest.rpartition("@")
        if found:
            host, slash, path = others.partition("/")
            return user, host, f"{slash}{path}"
    return user, host, rest[at:]
