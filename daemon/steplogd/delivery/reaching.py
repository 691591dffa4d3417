"""Whether anybody answers where a tracker's server should be, before its client is asked."""

from __future__ import annotations

import os
import socket
from typing import Final
from urllib.parse import urlsplit

from steplogd.delivery.contract import Unavailable
from steplogd.delivery.secrets import without_secrets

CONNECT_SECONDS: Final = 5.0
_PORTS: Final = {"https": 443, "http": 80}


def reach(url: str, tracker: str) -> None:
    """Connect to a server and say nothing: clients tell at length, or wrongly, that none is there.

    Args:
        url: Where it should be.
        tracker: What it is called.

    Raises:
        Unavailable: Nobody is there; the text says why.
    """
    if any(name.lower().endswith("_proxy") and value for name, value in os.environ.items()):
        return  # who stands between may know more names than we do
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme, 443)
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        where = without_secrets(url)
        raise Unavailable(f"no {tracker} server answers at {where} ({reason})") from error
