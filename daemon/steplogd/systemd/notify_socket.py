"""The socket on which a service tells its manager how it is: the protocol of sd_notify(3).

Written out here, as that manual itself proposes: it is one datagram of assignments, promised to
stay as it is, and no library for it is both kept well and free of compiled code.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Final

from steplog.cli.terminal import sanitise

_MOST_BYTES: Final = 2000  # of one value; systemd drops a datagram of more than 4096
_MOST_UNSENT: Final = 32  # somebody who reads none of so many is not going to
_REPEATED: Final = {"WATCHDOG", "EXTEND_TIMEOUT_USEC"}
"""They wait once: or they would take the place of READY, which is said once."""


class NotifySocket:
    """Tells the service manager; never blocks, and never raises: one that is gone costs nothing.

    Args:
        name: As `NOTIFY_SOCKET` says it: a path, or a name in the abstract space after an `@`.
    """

    def __init__(self, name: str) -> None:
        # Kept open: who has no descriptors left must still be able to say that he is alive.
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._unsent: deque[bytes] = deque(maxlen=_MOST_UNSENT)

    def tell(self, **assignments: str | int) -> None:
        """Tell all of this at once, in the order of what was told before."""
        lines = [f"{name}={_one_line(str(value))}" for name, value in assignments.items()]
        datagram = "\n".join(lines).encode("utf-8", "replace")
        if not (assignments.keys() <= _REPEATED and datagram in self._unsent):
            self._unsent.append(datagram)
        self.flush()

    def flush(self) -> None:
        """Tell what could not be told before, as the manager was too busy to hear it."""
        while self._unsent:
            try:
                self._socket.sendto(self._unsent[0], self._address)
            except BlockingIOError:
                return
            except (OSError, ValueError):  # nobody listens there, or nobody could
                pass
            self._unsent.popleft()

    def close(self) -> None:
        """Tell nothing more."""
        self._socket.close()


def _one_line(value: str) -> str:
    """Return a value that holds no further assignment, whoever made it up, and is not too long."""
    sanitised = sanitise(value).encode("utf-8", "replace")
    return sanitised[:_MOST_BYTES].decode("utf-8", "ignore")
