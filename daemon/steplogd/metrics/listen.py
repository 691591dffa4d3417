"""Where the metrics are given out: at a port of this machine alone, or at a socket."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path
from typing import Final, NamedTuple

_UNIX: Final = "unix:"
_LONGEST_PATH: Final = 107  # bytes; the kernel keeps no more of a socket's
_MOST_PORTS: Final = 65535
_PORT: Final = re.compile(r":[0-9]*\Z")

HOW: Final = "write 127.0.0.1:9477, [::1]:9477 or unix:/run/steplog/metrics.sock"


class Listen(NamedTuple):
    """An address to listen at.

    Attributes:
        family: Of the socket.
        host: The address, or the path of a socket in the file system.
        port: The port; 0 for a path.
    """

    family: socket.AddressFamily
    host: str
    port: int

    def __str__(self) -> str:
        """Return it as it is written."""
        if self.family == socket.AF_UNIX:
            return f"{_UNIX}{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> Listen:
    """Return the address that a text says.

    Other machines are not let in: what it tells is nobody's business there, and nobody is asked
    who he is. Who wants it from elsewhere has a proxy that asks, or a Prometheus agent here.

    Raises:
        ValueError: It says none, or one that others can reach; the text says what to write.
    """
    if text.startswith(_UNIX):
        return _parse_path(text.removeprefix(_UNIX))
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= _MOST_PORTS):
        raise ValueError(f"{text!r} has no port; {HOW}")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise ValueError(f"{text!r} is no address; {HOW}") from error
    if not address.is_loopback:
        raise ValueError(f"{text!r} can be reached by other machines; {HOW}")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return Listen(family, str(address), int(port))


def is_this_machine(host: str) -> bool:
    """Tell whether a request's `Host` is this machine's own, with or without a port."""
    name = _PORT.sub("", host.lower())
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _parse_path(path: str) -> Listen:
    if not Path(path).is_absolute() or "\0" in path:
        raise ValueError(f"{path!r} is no path from the root; {HOW}")
    if len(path.encode(errors="surrogateescape")) > _LONGEST_PATH:
        raise ValueError(f"{path!r} is longer than {_LONGEST_PATH} bytes, as a socket's cannot be")
    return Listen(socket.AF_UNIX, path, 0)
