"""The environments that the processes of a command were started with, as the kernel shows them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steplog.execution.exports import variables_of
from steplog.execution.sink import stat_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplog.execution.exports import Variable


def environ_of(pid: int) -> bytes:
    """Return the environment that a process's program was started with; empty if not to be had."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:  # it has ended, or is another user's
        return b""


def variables_below(pid: int, address: str) -> Iterator[Variable]:
    """Yield the variables of all programs below a process, in the order in which they started.

    Args:
        pid: The process.
        address: The sink that they must know; others belong to a command within the command.
    """
    mark = f"STEPLOG_EXEC_SINK={address}".encode()
    for child in _below(pid):
        environ = environ_of(child)
        if mark in environ.split(b"\0"):
            yield from variables_of(environ)


def _below(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    times: dict[int, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            try:
                fields = stat_fields(int(name))
            except OSError:
                continue
            parents[int(name)], times[int(name)] = int(fields[1]), int(fields[19])
    found = {pid}
    grown = True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return sorted(found - {pid}, key=lambda child: (times[child], child))
